//! The storm laboratory in small, on real Envoys: a storm that stays for ever without a guard ends with Palisade.
//!
//! INVARIANT: bounds are those of `benches/storm/thresholds.json` that short runs are held to; the full laboratory, with
//! rivals and repetitions, is `just storm`.

use serde_json::Value;
use std::process::{Command, Stdio};

#[test]
fn a_storm_that_would_stay_ends() {
    let output = Command::new(env!("CARGO_BIN_EXE_storm"))
        .args(["--quick", "--report-only", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("the laboratory starts");
    assert!(output.status.success(), "{}", output.status);
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");

    // `null` where it did not happen within the run.
    let median = |arm: &str, figure: &str| {
        let arms = outcome["arms"].as_array().expect("arms");
        let row = arms.iter().find(|row| row["arm"] == arm).expect("the arm was measured");
        row["figures"][figure]["median"].clone()
    };
    for arm in ["nothing", "ours"] {
        let before = median(arm, "goodput_before").as_f64().expect("a number");
        assert!(
            before > 0.97,
            "{arm} is not well before the trigger, so that the run says nothing: {outcome:#}"
        );
    }
    assert!(median("nothing", "recovery_s").is_null(), "no storm that stays: {outcome:#}");
    let bounds = outcome["thresholds"].as_array().expect("bounds");
    assert!(bounds.len() >= 2, "a bound for each arm: {outcome:#}");
    for bound in bounds {
        assert_eq!(bound["held"], true, "{bound:#}");
    }
}
