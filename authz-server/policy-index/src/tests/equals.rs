//! The index gives the answer of plain evaluation: random worlds, so many as `PALISADE_INDEX_SETS` says, the first of
//! them made from `PALISADE_INDEX_SEED`.

use super::compare::{Both, Figures};
use super::words::Dice;
use super::world::World;

/// Policy sets where nobody says how many; the full size is 100,000.
const SETS: u64 = 100;
const REQUESTS: usize = 100;
const SEED: u64 = 20_261_122;

#[test]
fn the_index_answers_as_cedar_does_over_all_policies() {
    let number = |name, otherwise| std::env::var(name).map_or(otherwise, |number| number.parse().unwrap());
    let sets: u64 = number("PALISADE_INDEX_SETS", SETS);
    let seed: u64 = number("PALISADE_INDEX_SEED", SEED);
    let mut figures = Figures::default();
    for set in 0..sets {
        let mut dice = Dice::new(seed.wrapping_add(set));
        let world = World::new(&mut dice);
        let both = Both::new(world.policies.clone(), &world.shadows, &world.entities);
        for _ in 0..REQUESTS {
            let (request, person, named) = world.request(&mut dice);
            let compared = match person.map(|at| &world.people[at]) {
                Some((person, whole)) => both.brought(&request, (person, &named), whole, &mut figures),
                None => both.declared(&request, &mut figures),
            };
            if let Err(difference) = compared {
                panic!(
                    "seed {}, shadows {:?}:\n{}\n{difference}",
                    seed.wrapping_add(set),
                    world.shadows,
                    world.text
                );
            }
        }
    }
    println!("{sets} policy sets from seed {seed}, no difference; {figures}");
    for (what, part) in [("allow", figures.allowed), ("deny", figures.denied), ("error", figures.failed)] {
        assert!(figures.share(part) >= 0.1, "too few cases of {what}: {figures}");
    }
}
