//! What `palisade build` wrote, spread over the files that a running Envoy watches.
//!
//! Envoy takes a new listener, route table, cluster or filter from a file that is renamed into place; a bootstrap it
//! reads once. So the parts of the one bootstrap go into files of their own, with the very values that they have in it.
//! A filter that Envoy discovers by itself takes its new configuration for connections that are open, too.
//!
//! INVARIANT: nothing is added to a part or left out, and a part that did not change is not written again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::build::{EXT_AUTHZ_FILTER, PALISADE_FILTER};

/// What Envoy is started with.
pub const BOOTSTRAP_FILE: &str = "envoy.json";

const LISTENERS: &str = "envoy.config.listener.v3.Listener";
const CLUSTERS: &str = "envoy.config.cluster.v3.Cluster";
const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";
const EXTENSION: &str = "envoy.config.core.v3.TypedExtensionConfig";

/// Where the connection manager stands in a listener.
const MANAGER: &str = "/filter_chains/0/filters/0/typed_config";

/// Why a generated configuration could not be spread.
#[derive(Debug)]
pub enum GeneratedError {
    File {
        path: PathBuf,
        why: String,
    },
    /// A part is not where it was expected.
    Part(&'static str),
}

impl fmt::Display for GeneratedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GeneratedError::File { path, why } => {
                write!(f, "the generated configuration `{}` could not be used: {why}", path.display())
            }
            GeneratedError::Part(part) => write!(f, "the generated configuration has no {part}"),
        }
    }
}

impl std::error::Error for GeneratedError {}

/// A file that Envoy watches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    name: &'static str,
    kind: &'static str,
    resources: Vec<Value>,
}

/// All of them, and the bootstrap that names them. In the order in which a change is given to Envoy: a cluster is there
/// before a route leads to it, and the gate holds what the filter is about to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    bootstrap: Value,
    clusters: Watched,
    authorization: Option<Watched>,
    routes: Watched,
    filter: Option<Watched>,
    listeners: Watched,
}

/// Reads a generated file. JSON is YAML too.
pub fn read(path: &Path) -> Result<Value, GeneratedError> {
    let failed = |why: String| GeneratedError::File { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))
}

impl Generated {
    /// Spreads a bootstrap, and in Istio's shape the extension that it discovers, over files in `directory`.
    pub fn spread(
        mut bootstrap: Value,
        extension: Option<Value>,
        directory: &Path,
    ) -> Result<Generated, GeneratedError> {
        let source = |name: &str| {
            let path = directory.join(name).display().to_string();
            json!({ "path_config_source": { "path": path }, "resource_api_version": "V3" })
        };
        let statics = bootstrap.get_mut("static_resources").and_then(Value::as_object_mut);
        let statics = statics.ok_or(GeneratedError::Part("static resources"))?;
        let mut take = |part| match statics.shift_remove(part) {
            Some(Value::Array(resources)) => Ok(resources),
            _ => Err(GeneratedError::Part(part)),
        };
        let mut listeners = take("listeners")?;
        let (services, own): (Vec<_>, Vec<_>) =
            take("clusters")?.into_iter().partition(|cluster| is_named_like(cluster, "service-"));
        // The way to the server is the same for as long as Envoy runs.
        statics.insert("clusters".to_owned(), own.into());
        let listener = listeners.first_mut().ok_or(GeneratedError::Part("listener"))?;
        let manager = listener.pointer_mut(MANAGER).and_then(Value::as_object_mut);
        let manager = manager.ok_or(GeneratedError::Part("connection manager"))?;
        let routes = manager.shift_remove("route_config").ok_or(GeneratedError::Part("route table"))?;
        let name = routes.get("name").cloned().ok_or(GeneratedError::Part("name of the route table"))?;
        manager.insert(
            "rds".to_owned(),
            json!({ "route_config_name": name, "config_source": source("routes.json") }),
        );
        let filters = manager.get_mut("http_filters").and_then(Value::as_array_mut);
        let filters = filters.ok_or(GeneratedError::Part("list of HTTP filters"))?;
        let found = extension.and_then(|extension| extension.pointer("/resources/0/typed_config").cloned());
        let filter = discovered(filters, PALISADE_FILTER, found, &source("filter.json"));
        // Two of one name cannot be discovered apart: where some operations fail open, they change with the listener.
        let named =
            filters.iter().filter(|filter| filter.get("name").is_some_and(|name| name == EXT_AUTHZ_FILTER));
        let authorization = match named.count() {
            1 => discovered(filters, EXT_AUTHZ_FILTER, None, &source("authorization.json")),
            _ => None,
        };
        let bootstrap_fields = bootstrap.as_object_mut().ok_or(GeneratedError::Part("fields"))?;
        bootstrap_fields.insert(
            "dynamic_resources".to_owned(),
            json!({ "lds_config": source("listeners.json"), "cds_config": source("clusters.json") }),
        );
        let watched = |name, kind, resources| Watched { name, kind, resources };
        Ok(Generated {
            bootstrap,
            clusters: watched("clusters.json", CLUSTERS, services),
            authorization: authorization.map(|one| watched("authorization.json", EXTENSION, vec![one])),
            routes: watched("routes.json", ROUTES, vec![routes]),
            filter: filter.map(|one| watched("filter.json", EXTENSION, vec![one])),
            listeners: watched("listeners.json", LISTENERS, listeners),
        })
    }

    /// Writes everything, for an Envoy that is yet to start.
    pub fn write(&self, directory: &Path, version: &str) -> Result<(), GeneratedError> {
        self.parts().try_for_each(|part| part.write(directory, version))?;
        put(&directory.join(BOOTSTRAP_FILE), &self.bootstrap)
    }

    /// Writes what is not as it was, for an Envoy that runs; the names of what was written.
    pub fn write_changes(
        &self,
        before: &Generated,
        directory: &Path,
        version: &str,
    ) -> Result<Vec<&'static str>, GeneratedError> {
        let mut written = Vec::new();
        // No route may lead to a cluster that is gone: the old ones go last.
        let both = Watched {
            resources: union(&self.clusters.resources, &before.clusters.resources),
            ..self.clusters
        };
        if both != before.clusters {
            both.write(directory, version)?;
            written.push(both.name);
        }
        let old: Vec<&Watched> = before.parts().collect();
        let is_new = |part: &&Watched| !old.contains(part) && part.name != both.name;
        for part in self.parts().filter(is_new) {
            part.write(directory, version)?;
            written.push(part.name);
        }
        if both != self.clusters {
            self.clusters.write(directory, version)?;
            written.push(both.name);
        }
        written.dedup();
        Ok(written)
    }

    fn parts(&self) -> impl Iterator<Item = &Watched> {
        let Generated { clusters, authorization, routes, filter, listeners, .. } = self;
        [Some(clusters), authorization.as_ref(), Some(routes), filter.as_ref(), Some(listeners)]
            .into_iter()
            .flatten()
    }
}

impl Watched {
    fn write(&self, directory: &Path, version: &str) -> Result<(), GeneratedError> {
        let typed = |resource: &Value| {
            let mut typed = serde_json::Map::new();
            typed.insert("@type".to_owned(), format!("type.googleapis.com/{}", self.kind).into());
            typed.extend(resource.as_object().cloned().unwrap_or_default());
            Value::Object(typed)
        };
        let resources: Vec<Value> = self.resources.iter().map(typed).collect();
        put(&directory.join(self.name), &json!({ "version_info": version, "resources": resources }))
    }
}

/// Puts a whole file in the place of the one that was there, which is what Envoy notices.
fn put(path: &Path, value: &Value) -> Result<(), GeneratedError> {
    let failed =
        |error: std::io::Error| GeneratedError::File { path: path.to_owned(), why: error.to_string() };
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, value.to_string()).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)
}

/// Has Envoy discover a filter whose configuration stands in the list, or was found elsewhere. `None` where there is no
/// such filter: a drill has taken it.
fn discovered(filters: &mut [Value], name: &str, found: Option<Value>, source: &Value) -> Option<Value> {
    let filter = filters.iter_mut().find(|filter| filter.get("name").is_some_and(|known| known == name))?;
    let fields = filter.as_object_mut()?;
    let settings = fields.shift_remove("typed_config").or(found)?;
    let kind = settings.get("@type").cloned()?;
    let mut discovery =
        fields.shift_remove("config_discovery").unwrap_or_else(|| json!({ "type_urls": [kind] }));
    if let Some(discovery) = discovery.as_object_mut() {
        let mut place = source.clone();
        // What is generated may say how long to wait, and that stays.
        let wait = discovery.get("config_source").and_then(|old| old.get("initial_fetch_timeout")).cloned();
        if let (Some(place), Some(wait)) = (place.as_object_mut(), wait) {
            place.insert("initial_fetch_timeout".to_owned(), wait);
        }
        discovery.insert("config_source".to_owned(), place);
    }
    fields.insert("config_discovery".to_owned(), discovery);
    Some(json!({ "name": name, "typed_config": settings }))
}

fn is_named_like(resource: &Value, prefix: &str) -> bool {
    resource.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(prefix))
}

/// The new ones, and those old ones whose names are not among them.
fn union(new: &[Value], old: &[Value]) -> Vec<Value> {
    let is_gone = |resource: &&Value| new.iter().all(|known| known.get("name") != resource.get("name"));
    new.iter().chain(old.iter().filter(is_gone)).cloned().collect()
}

#[cfg(test)]
mod tests;
