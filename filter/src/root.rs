//! The filter's configuration: contract from the plugin, secret from the VM's environment, seed from the host.
//!
//! INVARIANT: without all three the configuration is refused: at first start the listener does not come up, later the
//! old configuration stays.

use crate::host;
use crate::http::Http;
use crate::load;
use crate::reports;
use crate::workers;
use palisade_core::call_id::CallIdMint;
use palisade_core::contract::Contract;
use palisade_core::exchange::Engine;
use palisade_core::handoff::Secret;
use palisade_core::limits::{REPORT_PERIOD_MS, REPORT_SOON_MS};
use palisade_core::responses::Sampler;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Names the secret's place in the VM's environment.
const SECRET_VARIABLE: &str = "PALISADE_HANDOFF_SECRET";

/// One configuration of one VM. An update makes a new one beside it, and requests in flight keep the old.
#[derive(Default)]
pub(crate) struct Root {
    shared: Option<Shared>,
}

/// What all requests of one configuration share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Rc<Engine>,
    /// Whether its contract says anything of load: if not, load costs nothing.
    pub(crate) sheds: bool,
    pub(crate) mint: Rc<RefCell<CallIdMint>>,
    /// Which responses are looked at.
    pub(crate) sampler: Rc<RefCell<Sampler>>,
    /// The next tick comes before its time.
    hurried: Rc<Cell<bool>>,
}

impl Shared {
    /// Called by a request, which must not do itself what a tick does.
    pub(crate) fn tick_soon(&self) {
        // Should the host not take it, the tick comes in its time.
        self.hurried.set(host::set_tick_period_ms(REPORT_SOON_MS).is_ok());
    }
}

impl Context for Root {
    fn on_grpc_call_response(&mut self, call: u32, status: u32, size: usize) {
        reports::answered(self.shared.as_ref().map(|shared| &shared.engine.secret), call, status, size);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, plugin_configuration_size: usize) -> bool {
        match configure(plugin_configuration_size) {
            Ok(shared) => {
                let digest = shared.engine.contract.digest();
                host::log(LogLevel::Info, &format!("palisade: bundle {digest} is in force"));
                self.shared = Some(shared);
                true
            }
            Err(problem) => {
                host::log(LogLevel::Critical, &format!("palisade: configuration refused: {problem}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(shared) = &self.shared {
            if shared.hurried.take() {
                let _regular = host::set_tick_period_ms(REPORT_PERIOD_MS);
            }
            if shared.sheds {
                workers::tick();
                tell_levels(&shared.engine.contract);
            }
            reports::tick(&shared.engine.secret);
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Says how the shedder of each service stands, for the report that this tick makes.
fn tell_levels(contract: &Contract) {
    load::with(|load| {
        for (service, level) in load.levels() {
            if let Some(operation) = contract.first_operation(service) {
                reports::level(contract.digest(), operation, level);
            }
        }
    });
}

fn configure(size: usize) -> Result<Shared, String> {
    let bytes = host::plugin_configuration(size).map_err(|error| {
        format!("the host does not hand over the plugin configuration (status {})", error.status)
    })?;
    let contract = Contract::decode(&bytes).map_err(|error| error.to_string())?;
    let secret = std::env::var(SECRET_VARIABLE).map_err(|_| {
        format!("no secret: set `{SECRET_VARIABLE}` in the environment of the proxy and pass it on in `environment_variables`")
    })?;
    let secret = Secret::parse(&secret)
        .ok_or_else(|| format!("the secret in `{SECRET_VARIABLE}` is not 64 hexadecimal digits"))?;
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|error| format!("the host gives no randomness: {error}"))?;
    reports::begin()?;
    load::begin()?;
    host::set_tick_period_ms(REPORT_PERIOD_MS)
        .map_err(|error| format!("the host has no clock that ticks (status {})", error.status))?;
    let sheds = contract.services().iter().any(|service| service.shedding.is_some());
    Ok(Shared {
        sheds,
        engine: Rc::new(Engine { contract, secret }),
        mint: Rc::new(RefCell::new(CallIdMint::new(seed))),
        sampler: Rc::default(),
        hurried: Rc::default(),
    })
}
