//! The view for people: storms first, then services, then callers.
//!
//! INVARIANT: every name is shown without what a terminal would obey.

use std::fmt::Write as _;

use crate::audit::{Zone, visible};
use crate::ledger::Storm;
use crate::storm::{CallerView, ServiceView, View};

/// Callers that fit a screen below the rest.
const CALLERS_SHOWN: usize = 10;

/// The longest name that does not move the columns behind it.
const NAME_WIDTH: usize = 48;

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

pub(super) fn text(view: &View, zone: &Zone, is_coloured: bool) -> String {
    let mut out = String::new();
    let View { at_ms, services, callers, storms } = view;
    let coloured = |colour: &str, text: &str| match is_coloured {
        true => format!("{colour}{text}{PLAIN}"),
        false => text.to_owned(),
    };
    let title = match storms.len() {
        0 => "no storm".to_owned(),
        1 => coloured(RED, "1 storm under way"),
        many => coloured(RED, &format!("{many} storms under way")),
    };
    // Writing to a string does not fail.
    let _written = writeln!(out, "{} ({})  {title}", zone.show(*at_ms), zone.name());
    for storm in storms {
        let _written = writeln!(out, "  {}", coloured(RED, &storm_line(storm, *at_ms)));
    }
    if services.is_empty() {
        out.push_str("\nNobody asks for anything.\n");
        return out;
    }
    let _written = writeln!(
        out,
        "\n{:<24}  {:>7}  {:>7}  {:>7}  {:>10}  {:>9}  {:>6}  shed a second",
        "service", "load", "limit", "workers", "attempts/s", "retries/s", "times"
    );
    for service in services {
        let _written = writeln!(out, "{}", service_line(service, &coloured));
    }
    let _written = writeln!(
        out,
        "\n{:<NAME_WIDTH$}  {:<32}  {:>10}  {:>9}  {:>8}  {:>6}",
        "caller", "operation", "attempts/s", "retries/s", "sheds/s", "times"
    );
    for caller in callers.iter().take(CALLERS_SHOWN) {
        let is_storming =
            storms.iter().any(|storm| (&storm.caller, &storm.service) == (&caller.caller, &caller.service));
        let line = caller_line(caller);
        let _written = writeln!(out, "{}", if is_storming { coloured(RED, &line) } else { line });
    }
    if let Some(more) = callers.len().checked_sub(CALLERS_SHOWN).filter(|more| *more > 0) {
        let _written = writeln!(out, "and {more} more");
    }
    out
}

fn storm_line(storm: &Storm, at_ms: u64) -> String {
    let Storm { caller, service, operation, since_ms, .. } = storm;
    let Storm { first_attempts, retries, sheds, amplification_percent, .. } = storm;
    format!(
        "{} at {}.{} for {} s: {first_attempts} first attempts, {retries} retries, {sheds} shed, at most {:.2} times",
        visible(caller),
        visible(service),
        visible(operation),
        at_ms.saturating_sub(*since_ms) / 1000,
        *amplification_percent as f64 / 100.0,
    )
}

fn service_line(view: &ServiceView, coloured: &impl Fn(&str, &str) -> String) -> String {
    let ServiceView { service, limit, load, vms, attempts_per_s, retries_per_s, amplification, .. } = view;
    let level = |number: u64| if *vms == 0 { "-".to_owned() } else { number.to_string() };
    let sheds: Vec<String> = view
        .sheds
        .iter()
        .map(|shed| {
            let mode = if shed.mode == "shadow" { " (shadow)" } else { "" };
            coloured(YELLOW, &format!("{} {:.1}{mode}", visible(&shed.reason), shed.per_s))
        })
        .collect();
    let sheds = if sheds.is_empty() { "none".to_owned() } else { sheds.join(", ") };
    format!(
        "{:<24}  {:>7}  {:>7}  {vms:>7}  {attempts_per_s:>10.1}  {retries_per_s:>9.1}  {amplification:>6.2}  {sheds}",
        visible(service),
        level(*load),
        level(*limit),
    )
}

fn caller_line(view: &CallerView) -> String {
    let CallerView { caller, service, operation, .. } = view;
    let CallerView { attempts_per_s, retries_per_s, sheds_per_s, amplification, .. } = view;
    let operation = visible(&format!("{service}.{operation}"));
    format!(
        "{:<NAME_WIDTH$}  {operation:<32}  {attempts_per_s:>10.1}  {retries_per_s:>9.1}  {sheds_per_s:>8.1}  {amplification:>6.2}",
        visible(caller),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::ShedView;

    fn view() -> View {
        let caller = CallerView {
            caller: "spiffe://shop.example/web".to_owned(),
            service: "orders".to_owned(),
            operation: "listOrders".to_owned(),
            attempts_per_s: 400.0,
            retries_per_s: 300.0,
            sheds_per_s: 250.5,
            amplification: 4.0,
        };
        let shed = |reason: &str, mode: &str, per_s| ShedView {
            reason: reason.to_owned(),
            mode: mode.to_owned(),
            per_s,
        };
        let service = ServiceView {
            service: "orders".to_owned(),
            limit: 50,
            load: 49,
            retry_tokens: 3,
            vms: 4,
            attempts_per_s: 900.0,
            retries_per_s: 300.0,
            amplification: 1.5,
            sheds: vec![shed("shed_retry", "enforce", 250.5), shed("rate_limited", "shadow", 2.0)],
        };
        let storm = Storm {
            caller: caller.caller.clone(),
            service: "orders".to_owned(),
            operation: "listOrders".to_owned(),
            since_ms: 1_763_700_000_000,
            duration_ms: 11_000,
            first_attempts: 1_100,
            retries: 3_300,
            sheds: 2_700,
            amplification_percent: 412,
        };
        let quiet = CallerView {
            caller: "batch\u{1b}[2J".to_owned(),
            retries_per_s: 0.0,
            amplification: 1.0,
            ..caller.clone()
        };
        let idle = ServiceView { service: "stock".to_owned(), amplification: 1.0, ..ServiceView::default() };
        View {
            at_ms: 1_763_700_012_500,
            services: vec![service, idle],
            callers: vec![caller, quiet],
            storms: vec![storm],
        }
    }

    #[test]
    fn storms_services_and_callers_are_shown() {
        let shown = text(&view(), &Zone::utc(), false);
        let expected = "\
2025-11-21 04:40:12.500 (UTC)  1 storm under way
  spiffe://shop.example/web at orders.listOrders for 12 s: 1100 first attempts, 3300 retries, 2700 shed, at most 4.12 times

service                      load    limit  workers  attempts/s  retries/s   times  shed a second
orders                         49       50        4       900.0      300.0    1.50  shed_retry 250.5, rate_limited 2.0 (shadow)
stock                           -        -        0         0.0        0.0    1.00  none

caller                                            operation                         attempts/s  retries/s   sheds/s   times
spiffe://shop.example/web                         orders.listOrders                      400.0      300.0     250.5    4.00
batch\u{fffd}[2J                                         orders.listOrders                      400.0        0.0     250.5    1.00
";
        assert_eq!(shown, expected);
        let coloured = text(&view(), &Zone::utc(), true);
        assert_eq!(coloured.replace(RED, "").replace(YELLOW, "").replace(PLAIN, ""), expected);
        assert_eq!(coloured.matches(RED).count(), 3, "{coloured:?}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let shown = text(&View { at_ms: 0, ..View::default() }, &Zone::utc(), false);
        assert_eq!(shown, "1970-01-01 00:00:00.000 (UTC)  no storm\n\nNobody asks for anything.\n");
    }

    #[test]
    fn a_view_is_read_as_it_was_written_and_what_is_unknown_in_it_is_ignored() {
        let mut object = serde_json::to_value(view()).unwrap();
        object.as_object_mut().unwrap().insert("added_later".to_owned(), true.into());
        assert_eq!(serde_json::from_value::<View>(object).unwrap(), view());
    }
}
