//! Bodies, at a service that records every byte: what is refused never shows there, what is accepted arrives unchanged.
//!
//! | Claim | Where |
//! |---|---|
//! | framing × size × refusal × target: nothing at the service, and the accepted twin arrives unchanged | `matrix` |
//! | what is no plain body: on GET and DELETE, empty, missing, awaited, abandoned, by single bytes, decisive trailers | `edges` |
//! | random bodies, frames, chunks and padding, with another body filter behind ours: equal hashes | `hashes` |
//! | what one VM holds is bounded, and nothing of it leaks | `full` |
//! | encoded bodies are refused; of a form with files only the length counts | `encodings` |
//!
//! That streams and upgrades pass by their heads alone is shown in `grpc`, in `facts::escapes` and by the corpus
//! `upgrade.txt`; that Envoy's gate holds as such, with a probe in the place of our filter, in `facts::held`.
//! INVARIANT: every configuration is generated; where one is edited, the edit is what the test is about.

mod edges;
mod encodings;
mod full;
mod hashes;
mod matrix;
mod message;
mod yard;
