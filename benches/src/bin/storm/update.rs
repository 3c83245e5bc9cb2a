//! The filter's configuration and its VM, exchanged while requests are under way.
//!
//! The filter comes by extension discovery from a file that Envoy watches, as a mesh brings it.
//! INVARIANT: what is exchanged guards by the same contract, so that the arm is the same before and after.

use crate::failure::Failure;
use palisade::build::{EXTENSION_FILE, PALISADE_FILTER, Rendered};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// How often the filter's configuration is taken in a run: at the start, and at each change.
pub(crate) const TAKEN: u64 = 3;

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The plugin's configuration alone: the VM stays, and with it what the filter knows of load.
    Configuration,
    /// The VM's environment: a new VM, which knows nothing.
    Vm,
}

/// Takes the filter out of the bootstrap and leaves a place for what the file says.
pub(crate) fn discover_filter(rendered: &mut Rendered, out: &Path) -> Result<(), Failure> {
    let filters =
        rendered.http_filters_mut().map_err(Failure::because("the configuration has no filters"))?;
    let filter = filters
        .iter_mut()
        .find(|filter| filter.get("name").and_then(Value::as_str) == Some(PALISADE_FILTER))
        .ok_or_else(|| Failure::new("the configuration has no filter of ours"))?;
    let settings = filter
        .get("typed_config")
        .cloned()
        .ok_or_else(|| Failure::new("the configuration says nothing to our filter"))?;
    *filter = json!({
        "name": PALISADE_FILTER,
        "config_discovery": {
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": { "path": out.join(EXTENSION_FILE).display().to_string() },
            },
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        },
    });
    fs::create_dir_all(out).map_err(Failure::because("the configuration cannot be written"))?;
    write(out, "1", settings)
}

/// Exchanges it; Envoy sees that the file was replaced.
pub(crate) fn exchange(out: &Path, change: Change) -> Result<(), Failure> {
    let text = fs::read_to_string(out.join(EXTENSION_FILE))
        .map_err(Failure::because("the filter's configuration cannot be read"))?;
    let document: Value =
        serde_json::from_str(&text).map_err(Failure::because("the filter's configuration is odd"))?;
    let missing = || Failure::new("the filter's configuration has no such part");
    let mut settings = document.pointer("/resources/0/typed_config").cloned().ok_or_else(missing)?;
    match change {
        Change::Configuration => {
            let config =
                settings.pointer_mut("/config").and_then(Value::as_object_mut).ok_or_else(missing)?;
            config.insert("reload_config".to_owned(), json!({ "backoff": { "base_interval": "1s" } }));
        }
        Change::Vm => {
            let values = settings.pointer_mut("/config/vm_config/environment_variables/key_values");
            let values = values.and_then(Value::as_object_mut).ok_or_else(missing)?;
            values.insert("PALISADE_STORM".to_owned(), "2".into());
        }
    }
    let version = match change {
        Change::Configuration => "2",
        Change::Vm => "3",
    };
    write(out, version, settings)
}

fn write(out: &Path, version: &str, settings: Value) -> Result<(), Failure> {
    let document = json!({
        "version_info": version,
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": PALISADE_FILTER,
            "typed_config": settings,
        }],
    });
    let failed = || Failure::because("the filter's configuration cannot be written");
    // Renamed into place, because a watch would see half of a file that is written.
    let unfinished = out.join("storm.unfinished");
    fs::write(&unfinished, document.to_string()).map_err(failed())?;
    fs::rename(&unfinished, out.join(EXTENSION_FILE)).map_err(failed())
}
