//! Callbacks that no proxy sends, and of which the SDK itself makes a trap. The random rows leave out these, and no others.
//!
//! A proxy has an object for each context, calls nothing of it once that object is gone, and numbers each new one anew;
//! it begins a call with one of three statuses. Should an SDK learn to bear one of these, its row here fails.

use tests::module::{Answer, Trap, Vm};

use super::scene::{ROOT, configured, head};

const STREAM: u32 = 2;

fn traps(what: &str, run: impl FnOnce(&mut Vm) -> Result<(), Trap>) {
    let mut vm = configured();
    assert!(run(&mut vm).is_err(), "{what} is borne now: let the random rows have it");
}

#[test]
fn what_no_proxy_sends_is_known() {
    for callback in ["proxy_on_done", "proxy_on_log", "proxy_on_delete", "proxy_on_tick"] {
        traps(callback, |vm| vm.on(99, callback, &[]).map(drop));
    }
    for callback in ["request_headers", "request_body", "response_headers", "response_body"] {
        let callback = format!("proxy_on_{callback}");
        traps(&callback, |vm| vm.on(99, &callback, &[0, 1]).map(drop));
    }
    traps("a stream twice", |vm| {
        vm.create(STREAM, ROOT)?;
        vm.create(STREAM, ROOT)
    });
    traps("a stream of no root", |vm| vm.create(STREAM, 99));
    traps("a root twice", |vm| vm.create(ROOT, 0));
    traps("the configuration of no root", |vm| vm.configure(99, Vec::new()).map(drop));
    traps("a call that begins with another status", |vm| {
        vm.host_mut().faults =
            Box::new(|call, answer| if call == "proxy_grpc_call" { Answer::Failed(2) } else { answer });
        vm.create(STREAM, ROOT)?;
        vm.stream(STREAM).request_headers = head("GET", "/nowhere", &[]);
        vm.step(STREAM, "proxy_on_request_headers", &[4, 1])?;
        vm.on(ROOT, "proxy_on_tick", &[]).map(drop)
    });
}
