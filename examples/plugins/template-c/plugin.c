/*
 * Counts the keys of a namespace by their prefix, which is what stands before the first slash: of `fruit/apple` that is `fruit`.
 * The counts are the plugin's own state, with the prefix as the key and the count in decimal as the value.
 */

#include "cohab_plugin.h"

/* Returns the count of a prefix. */
static uint64_t count_of(cohab_bytes prefix) {
    uint64_t count = 0;
    cohab_bytes kept = cohab_get(COHAB_STATE, prefix);
    if (cohab_is_there(kept)) cohab_parse(kept, &count);
    return count;
}

/* Counts what came and what went; a value that only changed is neither. */
COHAB_ON_COMMIT(changes) {
    cohab_change change;
    while (cohab_next_change(&changes, &change)) {
        bool was_there = cohab_is_there(change.before), is_there = cohab_is_there(change.after);
        if (was_there == is_there) continue;
        cohab_bytes rest = change.key, prefix = cohab_split(&rest, '/');
        uint64_t count = count_of(prefix);
        if (is_there) {
            count++;
        } else if (count > 0) {
            count--;
        }
        if (count > 0) {
            cohab_put(COHAB_STATE, prefix, cohab_decimal(count));
        } else {
            cohab_delete(COHAB_STATE, prefix);
        }
    }
    return COHAB_OK;
}

/* Answers a prefix with its count, and nothing with lines of `prefix count`. */
COHAB_ON_REQUEST(request) {
    if (request.len > 0) {
        cohab_reply(cohab_decimal(count_of(request)));
        return COHAB_OK;
    }
    cohab_buffer lines = {0};
    cohab_bytes prefix, count;
    cohab_scan scan = cohab_scan_of(COHAB_STATE, COHAB_STR(""));
    while (cohab_scan_next(&scan, &prefix, &count)) {
        cohab_append(&lines, prefix);
        cohab_append(&lines, COHAB_STR(" "));
        cohab_append(&lines, count);
        cohab_append(&lines, COHAB_STR("\n"));
    }
    cohab_reply(cohab_buffered(&lines));
    return COHAB_OK;
}
