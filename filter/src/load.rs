//! The load of this VM. One for all configurations that the VM has or will have.
//!
//! INVARIANT: what a stream has in work is given back when it is refused, and at the latest when it is gone.

use crate::host;
use palisade_core::load::{InWork, Load};
use std::cell::RefCell;

thread_local! {
    static LOAD: RefCell<Option<Load>> = const { RefCell::new(None) };
}

/// Makes it at the first configuration; later ones find it as it is.
pub(crate) fn begin() -> Result<(), String> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|error| format!("the host gives no randomness: {error}"))?;
    let _begun = LOAD.try_with(|load| {
        if let Ok(mut load) = load.try_borrow_mut() {
            load.get_or_insert_with(|| Load::new(seed));
        }
    });
    Ok(())
}

/// The host calls nothing of ours while it serves a call of ours, so that nobody else has it.
pub(crate) fn with<T>(run: impl FnOnce(&mut Load) -> T) -> Option<T> {
    LOAD.try_with(|load| load.try_borrow_mut().ok()?.as_mut().map(run)).ok().flatten()
}

/// The end of a stream.
pub(crate) fn gone(in_work: InWork) {
    // The time is only worth a call where nobody answered: it says how long the service was worked in vain.
    let now_us = in_work.is_unanswered().then(host::now_us);
    with(|load| load.gone(now_us, in_work));
}
