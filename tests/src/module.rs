//! The compiled filter in a host of ours, without a proxy around it: callbacks in any order, and a host that fails.
//!
//! `host` is what such a host knows and what it was told; `hostcalls` is the filter's way to it. A `Vm` is one instance.
//! Invariant: the module is the one that goes into the proxy, and a call that this host does not play ends the test.

mod host;
mod hostcalls;

use std::fmt;
use std::path::Path;

use wasmi::{Engine, Extern, ExternType, Linker, Module, Store, Val};

pub use host::{Answer, Faults, GrpcCall, Host, LocalReply, Pairs, Stream, encode_pairs};

/// What a callback of a stream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Continue,
    Pause,
}

/// The module ended by itself: in a proxy, all requests of this worker would fail from now on.
#[derive(Debug)]
pub struct Trap {
    pub callback: String,
    pub detail: String,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a trap in `{}`: {}", self.callback, self.detail)
    }
}

/// The compiled filter, ready to be started any number of times.
#[derive(Debug)]
pub struct Compiled {
    module: Module,
    linker: Linker<Host>,
}

impl Compiled {
    pub fn read(path: &Path) -> Compiled {
        let bytes = std::fs::read(path).expect("read the compiled filter");
        let engine = Engine::default();
        let module = Module::new(&engine, bytes).expect("the compiled filter is a module");
        let mut linker = Linker::new(&engine);
        for import in module.imports() {
            let ExternType::Func(of) = import.ty() else { panic!("the filter imports more than functions") };
            let name = import.name().to_owned();
            linker
                .func_new(import.module(), import.name(), of.clone(), move |caller, given, answers| {
                    hostcalls::serve(&name, caller, given, answers)
                })
                .expect("each import comes once");
        }
        Compiled { module, linker }
    }
}

/// One instance of the filter, and its host.
#[derive(Debug)]
pub struct Vm {
    store: Store<Host>,
    instance: wasmi::Instance,
}

impl Vm {
    /// Starts it as a proxy does, up to where its roots begin.
    pub fn start(compiled: &Compiled, host: Host) -> Result<Vm, Trap> {
        let mut store = Store::new(compiled.module.engine(), host);
        let instance = compiled
            .linker
            .instantiate_and_start(&mut store, &compiled.module)
            .map_err(|error| Trap { callback: "start".to_owned(), detail: error.to_string() })?;
        let mut vm = Vm { store, instance };
        vm.call("_initialize", &[])?;
        Ok(vm)
    }

    pub fn host(&self) -> &Host {
        self.store.data()
    }

    pub fn host_mut(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// A stream, as the host knows it.
    pub fn stream(&mut self, context: u32) -> &mut Stream {
        self.host_mut().streams.entry(context).or_default()
    }

    /// How large its memory has become; it never shrinks.
    pub fn memory_bytes(&self) -> usize {
        let memory = self.instance.get_memory(&self.store, "memory").expect("the filter exports its memory");
        memory.data_size(&self.store)
    }

    /// A root, begun: `on_vm_start`, but without configuration.
    pub fn create_root(&mut self, root: u32) -> Result<(), Trap> {
        self.create(root, 0)?;
        self.on(root, "proxy_on_vm_start", &[0]).map(drop)
    }

    pub fn create(&mut self, context: u32, root: u32) -> Result<(), Trap> {
        self.on(context, "proxy_on_context_create", &[root]).map(drop)
    }

    /// Whether the filter takes it.
    pub fn configure(&mut self, root: u32, configuration: Vec<u8>) -> Result<bool, Trap> {
        let size = configuration.len() as u32;
        self.host_mut().configuration = configuration;
        Ok(self.on(root, "proxy_on_configure", &[size])? == Some(1))
    }

    /// A callback that decides whether a stream goes on.
    pub fn step(&mut self, context: u32, callback: &str, given: &[u32]) -> Result<Action, Trap> {
        match self.on(context, callback, given)? {
            Some(0) => Ok(Action::Continue),
            Some(1) => Ok(Action::Pause),
            other => panic!("`{callback}` answered {other:?}, which is no action"),
        }
    }

    /// Any callback of a context.
    pub fn on(&mut self, context: u32, callback: &str, given: &[u32]) -> Result<Option<u32>, Trap> {
        self.host_mut().context = context;
        let mut all = vec![context];
        all.extend_from_slice(given);
        self.call(callback, &all)
    }

    fn call(&mut self, export: &str, given: &[u32]) -> Result<Option<u32>, Trap> {
        let Some(Extern::Func(callback)) = self.instance.get_export(&self.store, export) else {
            panic!("the filter has no `{export}`");
        };
        let given: Vec<Val> = given.iter().map(|value| Val::I32(*value as i32)).collect();
        let mut answers = vec![Val::I32(0); callback.ty(&self.store).results().len()];
        if let Err(error) = callback.call(&mut self.store, &given, &mut answers) {
            let said = String::from_utf8_lossy(&self.host().stderr).into_owned();
            return Err(Trap { callback: export.to_owned(), detail: format!("{error}\n{said}") });
        }
        Ok(answers.first().and_then(Val::i32).map(|answer| answer as u32))
    }
}
