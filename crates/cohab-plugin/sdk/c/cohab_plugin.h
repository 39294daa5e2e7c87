/*
 * What plugins of cohab are written with in C: the host's functions, changes, handlers, strings.
 *
 * A plugin is a directory with a manifest, plugin.toml, and a WebAssembly module. This header is all that the module needs: C99,
 * no libc. Build it with clang and its linker for WebAssembly:
 *
 *     clang --target=wasm32 -std=c99 -O2 -ffreestanding -nostdlib -mbulk-memory -Wl,--no-entry,--stack-first,--strip-all \
 *         -I DIRECTORY_OF_THIS_HEADER -o plugin.wasm plugin.c
 *
 * Handlers are defined with the macros COHAB_ON_COMMIT and so on:
 *
 *     COHAB_ON_REQUEST(request) {
 *         cohab_bytes value = cohab_get(COHAB_STATE, request);
 *         if (!cohab_is_there(value)) return cohab_fail(COHAB_STR("absent"));
 *         cohab_reply(value);
 *         return COHAB_OK;
 *     }
 *
 * MEMORY. Bytes are a pointer and a length, and nothing ends with a zero byte. What a function of this header returns, and what
 * a handler is handed, lies in an arena: it is valid until the handler returns, nothing is freed one by one, and the arena
 * begins anew with the next call. Without memory, the call ends in a trap. The stack is 64 KiB (-Wl,-z,stack-size=BYTES).
 *
 * BETWEEN CALLS static variables may keep their values and may as well begin anew, and several instances of a plugin may be
 * called at once. What has to last belongs into the plugin's own state; what may be forgotten, into cohab_cache_put.
 *
 * ERRORS. A handler that returns something else than COHAB_OK has failed: nothing counts that it wrote, and what follows is up
 * to the manifest's [on-error]; from COHAB_BEFORE_COMMIT it refuses the transaction, and the message is what whoever commits is
 * told. The functions return no errors: what the manifest does not grant, what is over a limit and what the host can't do ends
 * the call where it is, and the host says which it was.
 *
 * TIMES are microseconds since 1970, unless they are called _ms, which is milliseconds.
 */
#ifndef COHAB_PLUGIN_H
#define COHAB_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of the interface between plugins and host that this header speaks, `api` in the manifest. */
#define COHAB_API 1

/* What a handler returns if it succeeded. */
#define COHAB_OK 0

/* Bytes that are somewhere else. A pointer of NULL stands for a value that is not there; one that is empty has another one. */
typedef struct {
    const uint8_t *ptr;
    uint32_t len;
} cohab_bytes;

/* A change of one key. */
typedef struct {
    uint64_t version;      /* The version of the store that made it; before a commit, the one to come. */
    uint64_t time;         /* When that was committed. */
    cohab_bytes ns;        /* The namespace's name, in UTF-8. */
    cohab_bytes key;
    cohab_bytes before;    /* The value before, if there was one: cohab_is_there. */
    cohab_bytes after;     /* The value after, unless the key was removed. */
} cohab_change;

/* Changes, in the order in which they were committed: see cohab_next_change. */
typedef struct {
    uint32_t left; /* How many there are still to come. */
    const uint8_t *at;
} cohab_changes;

/* How much a line of the log matters. */
typedef enum { COHAB_DEBUG = 0, COHAB_INFO = 1, COHAB_WARN = 2, COHAB_ERROR = 3 } cohab_level;

/* ---------------------------------------------------------------------------------------------------------------- */
/* Imports and exports, as the interface has them.                                                                   */

#define COHAB_IMPORT(name) __attribute__((import_module("cohab"), import_name(#name)))
#define COHAB_EXPORT(name) __attribute__((export_name(#name), visibility("default")))
/* Defined in every file that includes the header, and there once in the module. */
#define COHAB_ONCE __attribute__((weak))
#define COHAB_UNUSED __attribute__((unused))

COHAB_IMPORT(get) int64_t cohab_import_get(const void *ns, uint32_t ns_len, const void *key, uint32_t key_len);
COHAB_IMPORT(put)
void cohab_import_put(const void *ns, uint32_t ns_len, const void *key, uint32_t key_len, const void *value, uint32_t value_len);
COHAB_IMPORT(delete) int32_t cohab_import_delete(const void *ns, uint32_t ns_len, const void *key, uint32_t key_len);
COHAB_IMPORT(scan)
int64_t cohab_import_scan(const void *ns, uint32_t ns_len, const void *prefix, uint32_t prefix_len, const void *from,
                          uint32_t from_len, uint32_t limit);
COHAB_IMPORT(take) uint32_t cohab_import_take(void *ptr, uint32_t capacity);
COHAB_IMPORT(cache_get) int64_t cohab_import_cache_get(const void *key, uint32_t key_len);
COHAB_IMPORT(cache_put)
void cohab_import_cache_put(const void *key, uint32_t key_len, const void *value, uint32_t value_len, int64_t ttl_ms);
COHAB_IMPORT(log) void cohab_import_log(int32_t level, const void *text, uint32_t text_len);
COHAB_IMPORT(now) int64_t cohab_import_now(void);
COHAB_IMPORT(reply) void cohab_import_reply(const void *ptr, uint32_t len);
COHAB_IMPORT(fail) void cohab_import_fail(const void *ptr, uint32_t len);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Handlers. Those that the manifest's triggers name have to be there. Each macro is followed by the handler's body, */
/* which returns COHAB_OK or cohab_fail(…).                                                                           */

/* After commits: COHAB_ON_COMMIT(changes) { … }, `changes` is a cohab_changes. */
#define COHAB_ON_COMMIT(changes) COHAB_HANDLER_OF_INPUT(on_commit, cohab_changes changes, cohab_changes_at(input))

/* Before a commit, which anything but COHAB_OK refuses; reads only. `changes` as above, all of one version. */
#define COHAB_BEFORE_COMMIT(changes) COHAB_HANDLER_OF_INPUT(before_commit, cohab_changes changes, cohab_changes_at(input))

/* A request, which cohab_reply answers: COHAB_ON_REQUEST(request) { … }, `request` is cohab_bytes. */
#define COHAB_ON_REQUEST(request) \
    COHAB_HANDLER_OF_INPUT(on_request, cohab_bytes request, ((cohab_bytes){input, input_len}))

/* A time of the schedule: COHAB_ON_SCHEDULE(due) { … }, `due` is a uint64_t. */
#define COHAB_ON_SCHEDULE(due) COHAB_HANDLER_OF_VALUE(on_schedule, uint64_t value, uint64_t due, value)

/* State of an older schema is to be brought to that of the manifest: COHAB_MIGRATE(from) { … }, `from` is a uint32_t.
 * Needed once the manifest's `schema` is above 1. */
#define COHAB_MIGRATE(from) COHAB_HANDLER_OF_VALUE(migrate, uint32_t value, uint32_t from, value)

/* Before a new generation gets into service, which anything but COHAB_OK prevents; reads only: COHAB_CHECK() { … } */
#define COHAB_CHECK() COHAB_HANDLER_OF_VALUE(check, void, void, )

#define COHAB_HANDLER_OF_INPUT(name, parameter, argument)                         \
    static int32_t cohab_handler_##name(parameter);                               \
    COHAB_EXPORT(name) int32_t cohab_export_##name(const uint8_t *input, uint32_t input_len) { \
        cohab_begin(input + input_len);                                           \
        return cohab_handler_##name(argument);                                    \
    }                                                                             \
    static int32_t cohab_handler_##name(parameter)

#define COHAB_HANDLER_OF_VALUE(name, exported, parameter, argument) \
    static int32_t cohab_handler_##name(parameter);                 \
    COHAB_EXPORT(name) int32_t cohab_export_##name(exported) {      \
        cohab_begin(NULL);                                          \
        return cohab_handler_##name(argument);                      \
    }                                                               \
    static int32_t cohab_handler_##name(parameter)

COHAB_ONCE COHAB_EXPORT(cohab_api) int32_t cohab_export_api(void) { return COHAB_API; }

/* ---------------------------------------------------------------------------------------------------------------- */
/* Memory.                                                                                                           */

/* What clang calls even where there is no libc. */

COHAB_ONCE __attribute__((no_builtin)) void *memcpy(void *restrict to, const void *restrict from, size_t len) {
    uint8_t *t = (uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
    while (len-- > 0) *t++ = *f++;
    return to;
}

COHAB_ONCE __attribute__((no_builtin)) void *memmove(void *to, const void *from, size_t len) {
    uint8_t *t = (uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
    if ((uintptr_t)to <= (uintptr_t)from) {
        while (len-- > 0) *t++ = *f++;
    } else {
        while (len-- > 0) t[len] = f[len];
    }
    return to;
}

COHAB_ONCE __attribute__((no_builtin)) void *memset(void *to, int byte, size_t len) {
    uint8_t *t = (uint8_t *)to;
    while (len-- > 0) *t++ = (uint8_t)byte;
    return to;
}

COHAB_ONCE __attribute__((no_builtin)) int memcmp(const void *a, const void *b, size_t len) {
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    for (; len > 0; len--, x++, y++) {
        if (*x != *y) return *x < *y ? -1 : 1;
    }
    return 0;
}

COHAB_ONCE __attribute__((no_builtin)) size_t strlen(const char *text) {
    size_t len = 0;
    while (text[len] != 0) len++;
    return len;
}

/* The end of static data, where the arena begins; the linker knows it. */
extern uint8_t __heap_base;

/* Where the arena goes on, and where the memory ends; NULL before the first call. */
COHAB_ONCE uint8_t *cohab_arena_at;
COHAB_ONCE uint8_t *cohab_arena_end;

/* Begins the arena anew, behind the input that lies in it, if there is any. The handlers' macros do that. */
static inline COHAB_UNUSED void cohab_begin(const uint8_t *behind) {
    uintptr_t base = (uintptr_t)&__heap_base, at = (uintptr_t)behind;
    at = ((at < base ? base : at) + 7) & ~(uintptr_t)7;
    cohab_arena_at = (uint8_t *)at;
    cohab_arena_end = (uint8_t *)((uintptr_t)__builtin_wasm_memory_size(0) << 16);
}

/* Returns room for `size` bytes, aligned to 8, with whatever was there before. It need not be given back. */
COHAB_ONCE void *cohab_room(uint32_t size) {
    uint64_t end = (((uint64_t)(uintptr_t)cohab_arena_at + size) + 7) & ~(uint64_t)7;
    if (end > (uintptr_t)cohab_arena_end) {
        uint64_t pages = (end - (uintptr_t)cohab_arena_end + 0xffff) >> 16;
        if (end > UINT32_MAX || __builtin_wasm_memory_grow(0, (size_t)pages) == SIZE_MAX) __builtin_trap();
        cohab_arena_end += pages << 16;
    }
    uint8_t *room = cohab_arena_at;
    cohab_arena_at = (uint8_t *)(uintptr_t)end;
    return room;
}

COHAB_ONCE COHAB_EXPORT(cohab_alloc) void *cohab_export_alloc(uint32_t size) {
    cohab_begin(NULL);
    return cohab_room(size);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Bytes and text.                                                                                                   */

/* A string literal as bytes, without the zero byte at its end. */
#define COHAB_STR(literal) ((cohab_bytes){(const uint8_t *)("" literal), sizeof(literal) - 1})

/* The name of the plugin's own state, for the functions that take a namespace. It needs no grant. */
#define COHAB_STATE COHAB_STR("")

/* Returns whether a value is there; an empty one is. */
static inline COHAB_UNUSED bool cohab_is_there(cohab_bytes value) { return value.ptr != NULL; }

/* Returns a string that ends with a zero byte as bytes. */
static inline COHAB_UNUSED cohab_bytes cohab_text(const char *text) {
    return (cohab_bytes){(const uint8_t *)text, (uint32_t)strlen(text)};
}

static inline COHAB_UNUSED bool cohab_equal(cohab_bytes a, cohab_bytes b) {
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static inline COHAB_UNUSED bool cohab_starts_with(cohab_bytes bytes, cohab_bytes prefix) {
    return bytes.len >= prefix.len && memcmp(bytes.ptr, prefix.ptr, prefix.len) == 0;
}

/* Returns what is before the first `separator` in *rest, and leaves in *rest what is behind it; without one, returns all of it
 * and leaves nothing. */
static inline COHAB_UNUSED cohab_bytes cohab_split(cohab_bytes *rest, char separator) {
    uint32_t len = 0;
    while (len < rest->len && rest->ptr[len] != (uint8_t)separator) len++;
    cohab_bytes first = {rest->ptr, len};
    uint32_t used = len < rest->len ? len + 1 : len;
    rest->ptr += used;
    rest->len -= used;
    return first;
}

/* Reads a decimal number, and returns false if that is not what `text` is, or if it is above UINT64_MAX. */
static inline COHAB_UNUSED bool cohab_parse(cohab_bytes text, uint64_t *number) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < text.len; i++) {
        uint64_t digit = (uint64_t)text.ptr[i] - '0';
        if (digit > 9 || n > (UINT64_MAX - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *number = n;
    return text.len > 0;
}

/* Returns a number in decimal. */
static inline COHAB_UNUSED cohab_bytes cohab_decimal(uint64_t number) {
    uint8_t *digits = (uint8_t *)cohab_room(20);
    uint32_t at = 20;
    do {
        digits[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (cohab_bytes){digits + at, 20 - at};
}

/* Bytes that grow at their end. Begin with `cohab_buffer buffer = {0};`; the bytes are buffer.ptr and buffer.len. */
typedef struct {
    uint8_t *ptr;
    uint32_t len;
    uint32_t capacity;
} cohab_buffer;

/* Puts bytes at the end of a buffer, which may move. */
static inline COHAB_UNUSED void cohab_append(cohab_buffer *buffer, cohab_bytes bytes) {
    if (bytes.len > buffer->capacity - buffer->len) {
        uint64_t wanted = (uint64_t)buffer->len + bytes.len;
        uint64_t doubled = (uint64_t)buffer->capacity * 2;
        uint64_t capacity = wanted > doubled ? wanted : doubled;
        if (capacity > UINT32_MAX) __builtin_trap();
        uint8_t *room = (uint8_t *)cohab_room((uint32_t)capacity);
        __builtin_memcpy(room, buffer->ptr, buffer->len);
        buffer->ptr = room;
        buffer->capacity = (uint32_t)capacity;
    }
    __builtin_memcpy(buffer->ptr + buffer->len, bytes.ptr, bytes.len);
    buffer->len += bytes.len;
}

/* Returns what is in a buffer. */
static inline COHAB_UNUSED cohab_bytes cohab_buffered(const cohab_buffer *buffer) {
    return (cohab_bytes){buffer->ptr, buffer->len};
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Changes.                                                                                                          */

static inline COHAB_UNUSED uint32_t cohab_u32_at(const uint8_t *at) {
    uint32_t number;
    __builtin_memcpy(&number, at, sizeof number);
    return number;
}

static inline COHAB_UNUSED uint64_t cohab_u64_at(const uint8_t *at) {
    uint64_t number;
    __builtin_memcpy(&number, at, sizeof number);
    return number;
}

static inline COHAB_UNUSED cohab_bytes cohab_piece_at(const uint8_t **at) {
    uint32_t len = cohab_u32_at(*at);
    *at += 4;
    if (len == UINT32_MAX) return (cohab_bytes){NULL, 0};
    cohab_bytes piece = {*at, len};
    *at += len;
    return piece;
}

static inline COHAB_UNUSED cohab_changes cohab_changes_at(const uint8_t *input) {
    return (cohab_changes){cohab_u32_at(input), input + 4};
}

/* Puts the next change into *change, and returns false if there is none: while (cohab_next_change(&changes, &change)) { … } */
static inline COHAB_UNUSED bool cohab_next_change(cohab_changes *changes, cohab_change *change) {
    if (changes->left == 0) return false;
    changes->left--;
    change->version = cohab_u64_at(changes->at);
    change->time = cohab_u64_at(changes->at + 8);
    changes->at += 16;
    change->ns = cohab_piece_at(&changes->at);
    change->key = cohab_piece_at(&changes->at);
    change->before = cohab_piece_at(&changes->at);
    change->after = cohab_piece_at(&changes->at);
    return true;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The store. A namespace is its name, in UTF-8, and has to be granted; COHAB_STATE is the plugin's own state.        */

/* Fetches what was found, of which the host returned the length, or -1. */
static inline COHAB_UNUSED cohab_bytes cohab_found(int64_t len) {
    if (len < 0) return (cohab_bytes){NULL, 0};
    void *room = cohab_room((uint32_t)len);
    return (cohab_bytes){(const uint8_t *)room, cohab_import_take(room, (uint32_t)len)};
}

/* Returns the value of a key, with what this call has written before; cohab_is_there says whether there is one. */
static inline COHAB_UNUSED cohab_bytes cohab_get(cohab_bytes ns, cohab_bytes key) {
    return cohab_found(cohab_import_get(ns.ptr, ns.len, key.ptr, key.len));
}

/* Sets the value of a key. It is committed with everything else that the call writes once the handler has succeeded. */
static inline COHAB_UNUSED void cohab_put(cohab_bytes ns, cohab_bytes key, cohab_bytes value) {
    cohab_import_put(ns.ptr, ns.len, key.ptr, key.len, value.ptr, value.len);
}

/* Removes a key, as cohab_put sets one, and returns whether it was there. */
static inline COHAB_UNUSED bool cohab_delete(cohab_bytes ns, cohab_bytes key) {
    return cohab_import_delete(ns.ptr, ns.len, key.ptr, key.len) != 0;
}

/* The entries of a namespace whose keys begin with a prefix, in the order of the keys. They are fetched from the host in pages of
 * up to 10,000 entries and about 1 MiB. */
typedef struct {
    cohab_bytes ns;
    cohab_bytes prefix;
    cohab_bytes from; /* Where to begin, if not at the first; may be set before the first cohab_scan_next. */
    uint32_t limit;   /* How many there are to be; 0 is all of them; may be set before the first cohab_scan_next. */
    bool one_page;    /* Whether to end with the first page; may be set before the first cohab_scan_next. */
    uint32_t left;    /* What follows is the scan's own. */
    uint8_t *page;
    uint32_t capacity;
    const uint8_t *at;
    bool is_over;
} cohab_scan;

/* Returns a scan of all entries. `ns` and `prefix` have to stay as they are while it goes on. */
static inline COHAB_UNUSED cohab_scan cohab_scan_of(cohab_bytes ns, cohab_bytes prefix) {
    cohab_scan scan = {0};
    scan.ns = ns;
    scan.prefix = prefix;
    return scan;
}

/* Puts the next entry into *key and *value, and returns false if there is none. They are valid until the next one is asked for. */
static inline COHAB_UNUSED bool cohab_scan_next(cohab_scan *scan, cohab_bytes *key, cohab_bytes *value) {
    if (scan->is_over) return false;
    if (scan->left == 0) {
        int64_t len = cohab_import_scan(scan->ns.ptr, scan->ns.len, scan->prefix.ptr, scan->prefix.len, scan->from.ptr,
                                        scan->from.len, scan->limit);
        if ((uint32_t)len > scan->capacity) {
            scan->page = (uint8_t *)cohab_room((uint32_t)len);
            scan->capacity = (uint32_t)len;
        }
        cohab_import_take(scan->page, (uint32_t)len);
        scan->left = cohab_u32_at(scan->page);
        scan->at = scan->page + 4;
        /* The last page is the one that is empty: how much the host puts into one is its own affair. */
        if (scan->left == 0) {
            scan->is_over = true;
            return false;
        }
    }
    *key = cohab_piece_at(&scan->at);
    *value = cohab_piece_at(&scan->at);
    scan->left--;
    if (scan->limit > 0 && --scan->limit == 0) scan->is_over = true;
    if (scan->left == 0 && scan->one_page) scan->is_over = true;
    if (scan->left == 0 && !scan->is_over) {
        /* The key to go on with is the last one with a zero byte behind it. */
        uint8_t *from = (uint8_t *)cohab_room(key->len + 1);
        __builtin_memcpy(from, key->ptr, key->len);
        from[key->len] = 0;
        scan->from = (cohab_bytes){from, key->len + 1};
    }
    return true;
}

/* Keeps a value in memory for `ttl_ms` milliseconds; 0 is as long as there is room. All instances of the plugin share the cache;
 * it is as large as the manifest's [limits] cache, and gone when the plugin is reloaded or the process ends. */
static inline COHAB_UNUSED void cohab_cache_put(cohab_bytes key, cohab_bytes value, uint64_t ttl_ms) {
    cohab_import_cache_put(key.ptr, key.len, value.ptr, value.len, (int64_t)(ttl_ms > INT64_MAX ? INT64_MAX : ttl_ms));
}

/* Returns what cohab_cache_put kept under a key, if it is still there: cohab_is_there. */
static inline COHAB_UNUSED cohab_bytes cohab_cache_get(cohab_bytes key) {
    return cohab_found(cohab_import_cache_get(key.ptr, key.len));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The call.                                                                                                         */

/* Logs a line of UTF-8. Needs `log = true` among the grants. Long lines are cut, and so is the log of a call with very many. */
static inline COHAB_UNUSED void cohab_log(cohab_level level, cohab_bytes text) {
    cohab_import_log((int32_t)level, text.ptr, text.len);
}

/* Returns the time, by the clock of the host. Needs `clock = true` among the grants. */
static inline COHAB_UNUSED uint64_t cohab_now(void) { return (uint64_t)cohab_import_now(); }

/* Answers the request that is being handled. The last answer counts; without any, it is empty. */
static inline COHAB_UNUSED void cohab_reply(cohab_bytes bytes) { cohab_import_reply(bytes.ptr, bytes.len); }

/* Says in UTF-8 why the handler fails, and returns what it then has to return: return cohab_fail(COHAB_STR("why")); */
static inline COHAB_UNUSED int32_t cohab_fail(cohab_bytes message) {
    cohab_import_fail(message.ptr, message.len);
    return 1;
}

#endif
