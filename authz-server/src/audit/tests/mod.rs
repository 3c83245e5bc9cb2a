//! The trail from end to end, over ledgers that the real writer wrote.

mod differential;
mod lives;
pub(crate) mod sample;
mod shown;
