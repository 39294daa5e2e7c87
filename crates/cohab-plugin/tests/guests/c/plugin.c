/* The plugin of the contract suite, in C. */

#include "cohab_plugin.h"

/* So that the compiler can't leave out what goes on for ever. */
static volatile uint32_t seen;

COHAB_ON_COMMIT(changes) {
    cohab_change change;
    while (cohab_next_change(&changes, &change)) {
        if (cohab_is_there(change.after)) {
            cohab_put(COHAB_STR("out"), change.key, change.after);
        } else {
            cohab_delete(COHAB_STR("out"), change.key);
        }
    }
    return COHAB_OK;
}

COHAB_BEFORE_COMMIT(changes) {
    cohab_change change;
    while (cohab_next_change(&changes, &change)) {
        if (cohab_equal(change.after, COHAB_STR("bad"))) {
            cohab_buffer message = {0};
            cohab_append(&message, change.key);
            cohab_append(&message, COHAB_STR(" is bad"));
            return cohab_fail(cohab_buffered(&message));
        }
    }
    return COHAB_OK;
}

COHAB_ON_SCHEDULE(due) {
    cohab_put(COHAB_STATE, COHAB_STR("due"), cohab_decimal(due));
    return COHAB_OK;
}

COHAB_MIGRATE(from) {
    if (from == 99) return cohab_fail(COHAB_STR("no way from 99"));
    cohab_put(COHAB_STATE, COHAB_STR("migrated"), cohab_decimal(from));
    return COHAB_OK;
}

COHAB_CHECK() {
    if (cohab_is_there(cohab_get(COHAB_STATE, COHAB_STR("broken")))) return cohab_fail(COHAB_STR("broken"));
    return COHAB_OK;
}

/* The namespace that a text begins with; - is the own state. */
static cohab_bytes place(cohab_bytes *rest) {
    cohab_bytes name = cohab_split(rest, ' ');
    return cohab_equal(name, COHAB_STR("-")) ? COHAB_STATE : name;
}

static int32_t reply_if_there(cohab_bytes value) {
    if (!cohab_is_there(value)) return cohab_fail(COHAB_STR("absent"));
    cohab_reply(value);
    return COHAB_OK;
}

static int32_t not_a_number(void) { return cohab_fail(COHAB_STR("that is not a number")); }

static int32_t list(cohab_bytes rest) {
    cohab_bytes ns = place(&rest), prefix = cohab_split(&rest, ' ');
    uint64_t limit;
    if (!cohab_parse(rest, &limit)) return not_a_number();
    if (cohab_equal(prefix, COHAB_STR("-"))) prefix = COHAB_STR("");
    cohab_scan scan = cohab_scan_of(ns, prefix);
    scan.limit = (uint32_t)limit;
    scan.one_page = true;
    cohab_buffer lines = {0};
    cohab_bytes key, value;
    while (cohab_scan_next(&scan, &key, &value)) {
        cohab_append(&lines, key);
        cohab_append(&lines, COHAB_STR("="));
        cohab_append(&lines, value);
        cohab_append(&lines, COHAB_STR("\n"));
    }
    cohab_reply(cohab_buffered(&lines));
    return COHAB_OK;
}

static int32_t count(void) {
    uint64_t n = 0;
    cohab_bytes kept = cohab_get(COHAB_STATE, COHAB_STR("n"));
    if (cohab_is_there(kept) && !cohab_parse(kept, &n)) return not_a_number();
    cohab_bytes text = cohab_decimal(n + 1);
    cohab_put(COHAB_STATE, COHAB_STR("n"), text);
    cohab_reply(text);
    return COHAB_OK;
}

/* Each call has something to do after the one within. */
__attribute__((noinline)) static uint32_t recurse(uint32_t depth) {
    if (seen == UINT32_MAX) return 0;
    return recurse(depth + 1) * 3 + seen;
}

COHAB_ON_REQUEST(request) {
    cohab_bytes rest = request, command = cohab_split(&rest, ' ');
    if (cohab_equal(command, COHAB_STR("echo"))) {
        cohab_reply(rest);
    } else if (cohab_equal(command, COHAB_STR("get"))) {
        cohab_bytes ns = place(&rest);
        return reply_if_there(cohab_get(ns, rest));
    } else if (cohab_equal(command, COHAB_STR("put"))) {
        cohab_bytes ns = place(&rest), key = cohab_split(&rest, ' ');
        cohab_put(ns, key, rest);
    } else if (cohab_equal(command, COHAB_STR("delete"))) {
        cohab_bytes ns = place(&rest);
        cohab_reply(cohab_delete(ns, rest) ? COHAB_STR("1") : COHAB_STR("0"));
    } else if (cohab_equal(command, COHAB_STR("scan"))) {
        return list(rest);
    } else if (cohab_equal(command, COHAB_STR("cache-put"))) {
        cohab_bytes key = cohab_split(&rest, ' '), ttl = cohab_split(&rest, ' ');
        uint64_t ttl_ms;
        if (!cohab_parse(ttl, &ttl_ms)) return not_a_number();
        cohab_cache_put(key, rest, ttl_ms);
    } else if (cohab_equal(command, COHAB_STR("cache-get"))) {
        return reply_if_there(cohab_cache_get(rest));
    } else if (cohab_equal(command, COHAB_STR("log"))) {
        cohab_log(COHAB_INFO, rest);
    } else if (cohab_equal(command, COHAB_STR("now"))) {
        cohab_reply(cohab_decimal(cohab_now()));
    } else if (cohab_equal(command, COHAB_STR("fail"))) {
        return cohab_fail(rest);
    } else if (cohab_equal(command, COHAB_STR("count"))) {
        return count();
    } else if (cohab_equal(command, COHAB_STR("loop"))) {
        for (;;) seen++;
    } else if (cohab_equal(command, COHAB_STR("grow"))) {
        for (;;) *(volatile uint8_t *)cohab_room(64 << 10) = 1;
    } else if (cohab_equal(command, COHAB_STR("recurse"))) {
        seen = recurse(0);
    } else if (cohab_equal(command, COHAB_STR("trap"))) {
        __builtin_trap();
    } else if (cohab_equal(command, COHAB_STR("huge"))) {
        uint64_t size;
        if (!cohab_parse(rest, &size) || size > UINT32_MAX) return not_a_number();
        uint8_t *zeros = cohab_room((uint32_t)size);
        memset(zeros, '0', (size_t)size);
        cohab_reply((cohab_bytes){zeros, (uint32_t)size});
    } else {
        return cohab_fail(COHAB_STR("there is no such request"));
    }
    return COHAB_OK;
}
