//! A picture of goodput over time: one line for each arm, and a band from its worst run to its best.
//!
//! INVARIANT: what is drawn is what was measured, second by second, without smoothing; the file stands by itself and loads
//! nothing.

use crate::failure::Failure;
use crate::figures::Second;
use crate::measure::{Program, Run};
use crate::plan::{Phases, Trigger};
use crate::stats::Spread;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 380.0;

/// Where the curves are; the legend stands to their right.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 326.0;

/// Distinct also for most who do not see all colours.
const COLOURS: [&str; 9] =
    ["#444444", "#e69f00", "#0072b2", "#56b4e9", "#cc79a7", "#b8a800", "#8c6bb1", "#d55e00", "#009e73"];

/// Draws one trigger's runs; says where.
pub(crate) fn write<'run>(
    root: &Path,
    program: &Program,
    trigger: Trigger,
    runs: impl Iterator<Item = &'run Run>,
) -> Result<PathBuf, Failure> {
    let runs: Vec<_> = runs.collect();
    let curve = |name: &'static str| {
        let of_arm: Vec<&[Second]> = runs
            .iter()
            .filter(|run| run.arm.name == name)
            .map(|run| run.figures.seconds.as_slice())
            .collect();
        Curve { name, points: points(&of_arm, program.phases) }
    };
    let curves: Vec<Curve> = program.arms.iter().map(|arm| curve(arm.name)).collect();
    let title = format!(
        "{} / {}: {:.0} requests a second due, median and range of {} run{}",
        program.scenario.as_str(),
        trigger.as_str(),
        program.rate,
        program.runs,
        if program.runs == 1 { "" } else { "s" }
    );
    let directory = root.join("target/storm");
    let path = directory.join(format!("{}-{}.svg", program.scenario.as_str(), trigger.as_str()));
    let failed = || Failure::because(format!("`{}` cannot be written", path.display()));
    fs::create_dir_all(&directory).map_err(failed())?;
    fs::write(&path, svg(&title, program.phases, &curves)).map_err(failed())?;
    Ok(path)
}

/// An arm over time, in seconds from the start of the trigger.
struct Curve {
    name: &'static str,
    points: Vec<(f64, Spread)>,
}

/// What was measured in each second, over all runs. Seconds in which nothing was due have no point.
fn points(runs: &[&[Second]], phases: Phases) -> Vec<(f64, Spread)> {
    let point = |second: u32| {
        let shares = runs.iter().filter_map(|run| run.get(second as usize)).map(|second| second.share());
        // In the middle of the second that it stands for.
        Some((f64::from(second) + 0.5 - f64::from(phases.trigger_at_s()), Spread::of(shares)?))
    };
    (phases.settle_s..phases.total_s()).filter_map(point).collect()
}

/// From a value to a place in the picture.
#[derive(Debug, Clone, Copy)]
struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        let (from, to) = (self.from, self.to);
        let part = (value - from.0) / (from.1 - from.0);
        to.0 + part.clamp(0.0, 1.0) * (to.1 - to.0)
    }
}

fn svg(title: &str, phases: Phases, curves: &[Curve]) -> String {
    let begin = -f64::from(phases.before_s);
    let end = f64::from(phases.trigger_s.saturating_add(phases.after_s)).max(1.0);
    let x = Scale { from: (begin, end), to: (LEFT, RIGHT) };
    let y = Scale { from: (0.0, 1.0), to: (BOTTOM, TOP) };
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="{LEFT}" y="22" font-size="14">{title}</text>
"#
    );
    // Writing into a string cannot fail.
    if phases.trigger_s > 0 {
        let (from, to) = (x.place(0.0), x.place(f64::from(phases.trigger_s)));
        let _written = writeln!(
            svg,
            r##"<rect x="{from:.1}" y="{TOP}" width="{:.1}" height="{:.1}" fill="#f2dede"/><text x="{:.1}" y="{:.1}" fill="#a04040" text-anchor="middle">trigger</text>"##,
            to - from,
            BOTTOM - TOP,
            f64::midpoint(from, to),
            TOP + 14.0
        );
    }
    axes(&mut svg, x, y, begin, end);
    for (place, curve) in curves.iter().enumerate() {
        let colour = COLOURS.get(place % COLOURS.len()).copied().unwrap_or("black");
        draw(&mut svg, curve, colour, x, y);
        let at = TOP + 20.0 * place as f64;
        let _written = writeln!(
            svg,
            r#"<line x1="{:.1}" y1="{at:.1}" x2="{:.1}" y2="{at:.1}" stroke="{colour}" stroke-width="3"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            RIGHT + 20.0,
            RIGHT + 48.0,
            RIGHT + 56.0,
            at + 4.0,
            curve.name
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, x: Scale, y: Scale, begin: f64, end: f64) {
    for tenth in (0..=10).step_by(2) {
        let (at, label) = (y.place(f64::from(tenth) / 10.0), f64::from(tenth) / 10.0);
        let _written = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}" stroke="#dddddd"/><text x="{:.1}" y="{:.1}" text-anchor="end">{label:.1}</text>"##,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let step = tick_s(end - begin);
    let mut tick = (begin / step).ceil() * step;
    while tick <= end {
        let at = x.place(tick);
        let _written = writeln!(
            svg,
            r##"<line x1="{at:.1}" y1="{BOTTOM}" x2="{at:.1}" y2="{:.1}" stroke="#888888"/><text x="{at:.1}" y="{:.1}" text-anchor="middle">{tick:.0}</text>"##,
            BOTTOM + 5.0,
            BOTTOM + 19.0
        );
        tick += step;
    }
    let _written = writeln!(
        svg,
        r##"<path d="M{LEFT} {TOP} V{BOTTOM} H{RIGHT}" fill="none" stroke="#888888"/>
<text x="{:.1}" y="{:.1}" text-anchor="middle">seconds from the start of the trigger</text>
<text transform="translate(16 {:.1}) rotate(-90)" text-anchor="middle">answered well in time, of those due</text>"##,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 40.0,
        f64::midpoint(TOP, BOTTOM)
    );
}

/// So that there are about ten of them.
fn tick_s(span: f64) -> f64 {
    let steps = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
    steps.into_iter().find(|step| span / step <= 12.0).unwrap_or(1_800.0)
}

fn draw(svg: &mut String, curve: &Curve, colour: &str, x: Scale, y: Scale) {
    let place = |second: f64, share: f64| format!("{:.1},{:.1} ", x.place(second), y.place(share));
    let line: String = curve.points.iter().map(|(second, spread)| place(*second, spread.median)).collect();
    let best = curve.points.iter().map(|(second, spread)| place(*second, spread.max));
    let worst = curve.points.iter().rev().map(|(second, spread)| place(*second, spread.min));
    let band: String = best.chain(worst).collect();
    let _written = writeln!(
        svg,
        r#"<polygon points="{}" fill="{colour}" fill-opacity="0.15"/><polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
        band.trim_end(),
        line.trim_end()
    );
}

#[cfg(test)]
mod tests {
    use super::{Curve, Scale, points, svg, tick_s};
    use crate::figures::Second;
    use crate::plan::Phases;

    const PHASES: Phases = Phases { settle_s: 1, before_s: 2, trigger_s: 2, after_s: 2 };

    #[test]
    fn a_scale_meets_its_ends_and_never_leaves_the_picture() {
        let down = Scale { from: (0.0, 1.0), to: (300.0, 100.0) };
        assert_eq!((down.place(0.0), down.place(0.5), down.place(1.0)), (300.0, 200.0, 100.0));
        assert_eq!((down.place(-1.0), down.place(2.0)), (300.0, 100.0));
    }

    #[test]
    fn points_are_the_median_and_the_range_of_each_second_after_settling() {
        let run = |good| [Second { due: 10, good }; 7];
        let (first, second, third) = (run(10), run(5), run(0));
        let mut found = points(&[&first, &second, &third], PHASES);
        assert_eq!(found.len(), 6);
        let (at, spread) = found.remove(0);
        assert_eq!((at, spread.median, spread.min, spread.max), (-1.5, 0.5, 0.0, 1.0));
        // Nothing due is nothing drawn.
        assert!(points(&[&[Second::default(); 7]], PHASES).is_empty());
    }

    #[test]
    fn ticks_are_few() {
        assert_eq!((tick_s(12.0), tick_s(36.0), tick_s(1800.0)), (1.0, 5.0, 300.0));
    }

    #[test]
    fn a_picture_has_its_trigger_its_axes_and_each_arm() {
        let run = [Second { due: 10, good: 9 }; 7];
        let curves = [Curve { name: "ours", points: points(&[&run], PHASES) }];
        let picture = svg("a title", PHASES, &curves);
        for part in ["trigger</text>", "seconds from", ">ours</text>", "<polyline", "<polygon", "a title"] {
            assert!(picture.contains(part), "{part}: {picture}");
        }
        assert!(!picture.contains("NaN"), "{picture}");
        assert_eq!(picture.matches("<svg").count(), picture.matches("</svg>").count());
    }
}
