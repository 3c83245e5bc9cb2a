//! What the workers of one proxy tell each other of rate limits, on ticks: never on a request's way.
//!
//! Each has a place in the data that the VMs share, where it writes what it let pass; it reads what stands in the others'.
//! A key that nobody has written yet can be taken by two at once, so that each looks at every tick whether its place is
//! still its own.
//! INVARIANT: whatever stands there, a limit is at least kept to by each worker for itself.

use crate::host;
use crate::load;
use palisade_core::limits::RATE_WORKERS_MAX;
use palisade_core::load::Load;
use palisade_core::rates::Told;
use std::cell::Cell;

/// The seed by which all workers name keys.
const SEED: &str = "palisade.rates.seed";

thread_local! {
    /// The place that was this worker's at the last tick.
    static PLACE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Tells and hears. A host that shares nothing leaves each worker alone.
pub(crate) fn tick() {
    let Some(worker) = load::with(|load| load.seed()) else { return };
    let seed = common_seed(worker);
    let now_us = host::now_us();
    let told = load::with(|load| {
        seed.into_iter().for_each(|seed| load.agree(seed));
        load.tell(now_us)
    });
    let places = read_places();
    let others = |place: &&(u32, Told)| place.1.worker != worker && place.1.is_fresh(now_us);
    let others: Vec<Told> = places.iter().filter(others).map(|(_, told)| told.clone()).collect();
    load::with(|load: &mut Load| load.hear(&others));
    if let Some(told) = told.flatten() {
        write(&Told { worker, ..told }, &places, now_us);
    }
}

/// All agree on whatever stands there; the first to look writes its own.
fn common_seed(own: [u8; 16]) -> Option<[u8; 16]> {
    if let Some(seed) = host::shared(SEED).ok()? {
        return seed.try_into().ok();
    }
    host::set_shared(SEED, &own).ok()?;
    None
}

fn key(place: u32) -> String {
    format!("palisade.rates.{place}")
}

/// Places are taken one after the other, so that the first free one ends them.
fn read_places() -> Vec<(u32, Told)> {
    let read = |place| {
        let bytes = host::shared(&key(place)).ok()??;
        // What cannot be read is as good as old.
        Some((place, Told::decode(&bytes).unwrap_or_default()))
    };
    (0..RATE_WORKERS_MAX).map_while(read).collect()
}

/// Writes to the own place, or to the first that is nobody's.
fn write(told: &Told, places: &[(u32, Told)], now_us: u64) {
    let own =
        PLACE.get().filter(|own| places.iter().any(|(place, by)| place == own && by.worker == told.worker));
    let old = || places.iter().find(|(_, by)| !by.is_fresh(now_us)).map(|(place, _)| *place);
    let next = || u32::try_from(places.len()).ok().filter(|place| *place < RATE_WORKERS_MAX);
    let Some(place) = own.or_else(old).or_else(next) else { return };
    let _alone_if_not = host::set_shared(&key(place), &told.encode());
    PLACE.set(Some(place));
}
