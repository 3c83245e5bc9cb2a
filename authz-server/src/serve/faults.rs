//! The places at which tests make a call fail: nothing at all in a real build.
//!
//! INVARIANT: outside tests every function here is empty and is compiled away.

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing was looked at yet.
    BeforeDeciding,
    /// In the middle of deciding.
    Deciding,
    /// Decided, and not yet queued for the ledger.
    BeforeAppend,
    /// Queued, before the first wait for the receipt.
    BeforeReceipt,
    /// The receipt is there.
    AfterReceipt,
    /// The proxy's form of the answer is being built.
    Replying,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn reach(_stage: Stage) {}

#[cfg(test)]
pub(crate) use injected::reach;

#[cfg(test)]
pub(crate) mod injected {
    use super::Stage;
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    /// What happens at a stage.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        Panic,
        /// The thread is held up for this long.
        Delay(Duration),
    }

    thread_local! {
        static NEXT: Cell<Option<(Stage, Fault)>> = const { Cell::new(None) };
    }

    /// The next call of this thread that comes to the stage meets the fault, once.
    pub(crate) fn inject(stage: Stage, fault: Fault) {
        NEXT.set(Some((stage, fault)));
    }

    /// Whether what was injected has not happened.
    pub(crate) fn is_left() -> bool {
        NEXT.take().is_some()
    }

    pub(crate) fn reach(stage: Stage) {
        let Some((_, fault)) = NEXT.get().filter(|(at, _)| *at == stage) else { return };
        NEXT.set(None);
        match fault {
            Fault::Panic => panic!("injected at {stage:?}"),
            Fault::Delay(delay) => {
                let until = Instant::now() + delay;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
        }
    }
}
