use cohab_testkit::{Change, Model, Step};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::Scratch;

fn change() -> impl Strategy<Value = Change> {
    (0..6u8, 0..64u8, option::weighted(0.7, vec(any::<u8>(), 0..40)))
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = || 0..6u8;
    prop_oneof![
        6 => (vec(change(), 0..12), prop::bool::weighted(0.1))
            .prop_map(|(changes, give_up)| Step::Write { changes, give_up }),
        6 => (vec(change(), 0..6), (namespace(), 0..64u8))
            .prop_map(|(changes, absent)| Step::Submit { changes, absent }),
        4 => namespace().prop_map(Step::Create),
        1 => namespace().prop_map(Step::Describe),
        2 => (namespace(), namespace()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (namespace(), namespace()).prop_map(|(from, to)| Step::Copy(from, to)),
        2 => namespace().prop_map(Step::Drop),
        2 => namespace().prop_map(Step::Undrop),
        1 => namespace().prop_map(Step::Purge),
        1 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_map_of_maps_does(steps in vec(step(), 1..60)) {
        let scratch = Scratch::new();
        let mut store = scratch.store();
        let mut model = Model::default();
        // Most steps need a namespace to do anything.
        for number in 0..3 {
            model.step(&mut store, &Step::Create(number));
        }
        for step in &steps {
            model.step(&mut store, step);
        }
        model.compare(&store);
        drop(store);
        model.compare(&scratch.store());
    }
}
