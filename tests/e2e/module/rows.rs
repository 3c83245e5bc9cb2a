//! Random rows of callbacks on one VM after another, with a host that fails and lies: no trap, and nothing refused goes on.
//!
//! Half of the rows keep a proxy's order, half keep none (`orders` says which callbacks are left out). A row that fails
//! prints its seed: `PALISADE_MODULE_SEED=<seed> PALISADE_MODULE_RUNS=1` runs it again.

mod inputs;
mod model;
mod row;

use std::time::Instant;

use row::{Row, Totals};

fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn no_row_of_callbacks_ends_the_module_or_lets_a_refused_request_go_on() {
    let (runs, first) = (asked("PALISADE_MODULE_RUNS", 3_000), asked("PALISADE_MODULE_SEED", 1));
    let begun = Instant::now();
    let mut totals = Totals::default();
    for seed in first..first + runs {
        if let Err(broken) = Row::new(seed).run(&mut totals) {
            panic!("{broken}");
        }
    }
    println!("{runs} rows from seed {first} in {:?}: {totals}", begun.elapsed());
    if runs >= 1_000 {
        totals.assert_varied();
    }
}
