//! Schedules: no text panics a reader, every one that is accepted goes on, and misses no time that it names.

#![no_main]

use cohab_core::Timestamp;
use cohab_plugin::Schedule;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u64, &str)| {
    let (last, now, text) = input;
    for schedule in [Schedule::every(text), Schedule::cron(text)] {
        let Ok(schedule) = schedule else { continue };
        assert_eq!(schedule.to_string(), text);
        let [last, now] = [last, now].map(Timestamp::from_micros);
        let next = schedule.next_after(last, now);
        assert!(
            next > last.min(now) || next == Timestamp::from_micros(u64::MAX),
            "`{text}` stands still at {next:?}"
        );
        // What was due by now is the last of its kind: having run then, it is next due in the future.
        if next <= now {
            let never = Timestamp::from_micros(u64::MAX);
            let then = schedule.next_after(next, now);
            assert!(then > now || then == never, "`{text}` was due again after {next:?}");
        }
    }
});
