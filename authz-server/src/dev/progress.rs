//! What a person, or a program, sees while `palisade dev` works.
//!
//! INVARIANT: no step is silent for longer than `HEARTBEAT`, and standard output holds nothing but results: with
//! `--json` one object a line and no other text, else the ready line, the examples, the tour and the tail.
//! The way there goes to standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

/// How often a plain log gets a sign of life from a step that is still running.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The width that a line on a terminal is cut to, so that it never wraps and can be wiped by one carriage return.
const LINE_CHARS: usize = 78;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line that is rewritten in place.
    Terminal,
    /// One line for each beginning, sign of life and end.
    Plain,
    /// One JSON object a line, on standard output.
    Json,
    /// Nothing, for callers that have their own way to tell.
    Silent,
}

/// Whether somebody has asked for the end; cheap to look at from synchronous code.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A stop signal and the sender that raises it by sending `true`.
    pub fn channel() -> (watch::Sender<bool>, Stop) {
        let (raise, raised) = watch::channel(false);
        (raise, Stop(raised))
    }

    /// True from the moment when the end was asked for.
    pub fn raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the end to be asked for; for ever if nobody is left who could ask.
    pub async fn wait(&self) {
        let mut raised = self.0.clone();
        if raised.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Shows steps as they run.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    stop: Option<Stop>,
}

impl Progress {
    pub fn new(style: Style) -> Progress {
        Progress { style, stop: None }
    }

    /// For a person: in place on a terminal, line by line elsewhere.
    pub fn human() -> Progress {
        Progress::new(if io::stderr().is_terminal() { Style::Terminal } else { Style::Plain })
    }

    pub fn json() -> Progress {
        Progress::new(Style::Json)
    }

    pub fn silent() -> Progress {
        Progress::new(Style::Silent)
    }

    /// Lets long steps end early when `stop` is raised.
    #[must_use]
    pub fn with_stop(self, stop: Stop) -> Progress {
        Progress { stop: Some(stop), ..self }
    }

    pub fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// True when a long step should give up because the end was asked for.
    pub fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::raised)
    }

    /// Begins a step; it counts as failed unless `done` is called.
    pub fn step(&mut self, name: &str) -> Step<'_> {
        match self.style {
            Style::Terminal | Style::Silent => {}
            Style::Plain => to_stderr(&format!("… {name}\n")),
            Style::Json => to_stdout(&json!({"event": "step", "step": name, "state": "started"})),
        }
        let now = Instant::now();
        let mut step = Step {
            progress: self,
            name: name.to_owned(),
            began: now,
            shown: now,
            tail: String::new(),
            open: true,
        };
        step.redraw();
        step
    }

    /// A remark that belongs to no step.
    pub fn note(&mut self, text: &str) {
        match self.style {
            Style::Terminal | Style::Plain => to_stderr(&format!("  {text}\n")),
            Style::Json => to_stdout(&json!({"event": "note", "text": text})),
            Style::Silent => {}
        }
    }

    /// A result for standard output: the object for programs, else the text for people.
    pub fn result(&mut self, text: &str, object: &Value) {
        match self.style {
            Style::Terminal | Style::Plain => to_stdout_text(text),
            Style::Json => to_stdout(object),
            Style::Silent => {}
        }
    }

    /// The last words of a run that failed.
    pub fn failed(&mut self, message: &str) {
        match self.style {
            Style::Terminal | Style::Plain => to_stderr(&format!("palisade dev: {message}\n")),
            Style::Json => to_stdout(&json!({"event": "failed", "message": message})),
            Style::Silent => {}
        }
    }
}

/// One step that is running.
#[derive(Debug)]
pub struct Step<'a> {
    progress: &'a mut Progress,
    name: String,
    began: Instant,
    shown: Instant,
    tail: String,
    open: bool,
}

impl Step<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True when the step should give up because the end was asked for.
    pub fn stopped(&self) -> bool {
        self.progress.stopped()
    }

    /// The newest line that the work has printed.
    pub fn line(&mut self, line: &str) {
        let line = printable(line);
        if !line.is_empty() {
            self.tail = line;
        }
        self.tick();
    }

    /// Called again and again while the work runs; shows that time passes.
    pub fn tick(&mut self) {
        match self.progress.style {
            Style::Terminal => self.redraw(),
            Style::Plain | Style::Json if self.shown.elapsed() >= HEARTBEAT => {
                self.shown = Instant::now();
                let elapsed_s = self.began.elapsed().as_secs();
                if self.progress.style == Style::Json {
                    to_stdout(&json!({"event": "step", "step": self.name, "state": "running",
                        "elapsed_s": elapsed_s, "tail": self.tail}));
                } else {
                    to_stderr(&format!("  {}: {elapsed_s} s  {}\n", self.name, self.tail));
                }
            }
            Style::Plain | Style::Json | Style::Silent => {}
        }
    }

    /// Ends the step well; `detail` says with what.
    pub fn done(mut self, detail: &str) {
        self.close("done", "✓", detail);
    }

    fn redraw(&mut self) {
        if self.progress.style == Style::Terminal {
            let line = format!("… {} {} s  {}", self.name, self.began.elapsed().as_secs(), self.tail);
            to_stderr(&format!("\r\x1b[2K{}", cut(&line)));
        }
    }

    fn close(&mut self, state: &str, mark: &str, detail: &str) {
        self.open = false;
        let elapsed_s = self.began.elapsed().as_secs_f64();
        match self.progress.style {
            Style::Terminal => {
                to_stderr(&format!("\r\x1b[2K{mark} {} ({elapsed_s:.1} s)  {detail}\n", self.name))
            }
            Style::Plain => to_stderr(&format!("{mark} {} ({elapsed_s:.1} s)  {detail}\n", self.name)),
            Style::Json => to_stdout(&json!({"event": "step", "step": self.name, "state": state,
                "elapsed_s": (elapsed_s * 1000.0).round() / 1000.0, "detail": detail})),
            Style::Silent => {}
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if self.open {
            self.close("failed", "✗", "");
        }
    }
}

/// A line of a child's output without what could move the cursor or colour the terminal.
fn printable(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // A control sequence ends at its first letter; what it would do is of no use in a summary.
            let _ = characters.by_ref().find(char::is_ascii_alphabetic);
        } else if !character.is_control() {
            plain.push(character);
        }
    }
    plain.trim().to_owned()
}

fn cut(line: &str) -> String {
    if line.chars().count() <= LINE_CHARS {
        return line.to_owned();
    }
    line.chars().take(LINE_CHARS - 1).chain(['…']).collect()
}

// A closed pipe must not end the run, because the children have to be stopped first: write errors are dropped.

fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

fn to_stdout(object: &Value) {
    to_stdout_text(&format!("{object}\n"));
}

fn to_stdout_text(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::{LINE_CHARS, Progress, Stop, Style, cut, printable};

    #[test]
    fn a_childs_line_loses_colours_and_cursor_movements() {
        assert_eq!(printable("\x1b[1m\x1b[32m   Compiling\x1b[0m serde v1\r"), "Compiling serde v1");
        assert_eq!(printable("a\tb\x07c"), "abc");
    }

    #[test]
    fn a_long_line_is_cut_to_the_width_and_a_short_one_is_left() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ä".repeat(300)).chars().count(), LINE_CHARS);
    }

    #[test]
    fn progress_sees_the_stop_as_soon_as_it_is_raised() {
        let (raise, stop) = Stop::channel();
        let mut progress = Progress::new(Style::Silent).with_stop(stop);
        assert!(!progress.stopped());
        let step = progress.step("wait");
        raise.send_replace(true);
        assert!(step.stopped());
        step.done("");
        assert!(progress.stopped());
    }
}
