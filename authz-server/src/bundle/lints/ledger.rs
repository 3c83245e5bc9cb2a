//! Lints of what `palisade.yaml` says of the ledger and of failures.

use super::places::Places;
use super::{Found, Lint};
use crate::bundle::format::{Class, Durability, Palisade};

pub(super) fn look(settings: &Palisade, places: &Places<'_>, found: &mut Found) {
    let durability = &settings.ledger.durability;
    for (class, written) in [(Class::Write, &durability.write), (Class::Delete, &durability.delete)] {
        if written.value == Durability::Buffered {
            let class = class.word();
            let message = format!("an allowed call of class `{class}` is answered before it is on disk");
            let help = "if the machine fails within a tenth of a second, something was changed and nobody can say by whom";
            found.warn(Lint::BufferedChange, class, places.in_palisade(written.at), message, help);
        }
    }
    for (class, mode) in settings.failure.open_changes() {
        let message = format!(
            "a call of class `{class}` passes undecided where the server cannot decide in time, or not be reached"
        );
        let help = "something may be changed that policies forbid, by anybody, and its entry may say only that there was one";
        found.warn(Lint::OpenChange, class, places.in_palisade(mode.at), message, help);
    }
}
