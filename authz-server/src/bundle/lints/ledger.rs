//! Lints of what `palisade.yaml` says of the ledger.

use super::places::Places;
use super::{Found, Lint};
use crate::bundle::format::{Class, Durability, LedgerSettings};

pub(super) fn look(settings: &LedgerSettings, places: &Places<'_>, found: &mut Found) {
    let durability = &settings.durability;
    for (class, written) in [(Class::Write, &durability.write), (Class::Delete, &durability.delete)] {
        if written.value == Durability::Buffered {
            let class = class.word();
            let message = format!("an allowed call of class `{class}` is answered before it is on disk");
            let help = "if the machine fails within a tenth of a second, something was changed and nobody can say by whom";
            found.warn(Lint::BufferedChange, class, places.in_palisade(written.at), message, help);
        }
    }
}
