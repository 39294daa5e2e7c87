/**
 * What plugins of cohab are written with in AssemblyScript: the host's functions and changes. A plugin copies this file.
 *
 * It is made for the runtime `stub`, in which memory is never given back one by one: the heap begins anew with every call. What
 * a handler allocates is valid until it returns, so nothing that is allocated may be kept in a global variable; what has to last
 * belongs into the plugin's own state, and what may be forgotten, into `cachePut`. Constants that are strings are no problem.
 *
 * The plugin's entry file exports the handlers that its manifest needs, and what the host needs besides:
 *
 *     import * as cohab from "./cohab";
 *     export { cohab_api, cohab_alloc } from "./cohab";
 *
 *     export function on_request(ptr: usize, len: i32): i32 {
 *       const value = cohab.get("", cohab.bytes(ptr, len));
 *       if (value == null) return cohab.fail("absent");
 *       cohab.reply(value);
 *       return 0;
 *     }
 *
 * The others are `on_commit(ptr: usize, len: i32)` and `before_commit`, whose input is read with `new Changes(ptr)`, and
 * `on_schedule(due: i64)`, `migrate(from: i32)` and `check()`, which begin with `cohab.begin()`. All return 0, or what
 * `fail` returns: then nothing counts that they wrote, and `before_commit` refuses the transaction.
 *
 * The functions return no errors: what the manifest does not grant, what is over a limit and what the host can't do ends the call
 * where it is, and the host says which it was. Times are microseconds since 1970.
 */

// @ts-ignore: decorator
@external("cohab", "get")
declare function importGet(ns: usize, nsLen: i32, key: usize, keyLen: i32): i64;
// @ts-ignore: decorator
@external("cohab", "put")
declare function importPut(ns: usize, nsLen: i32, key: usize, keyLen: i32, value: usize, valueLen: i32): void;
// @ts-ignore: decorator
@external("cohab", "delete")
declare function importDelete(ns: usize, nsLen: i32, key: usize, keyLen: i32): i32;
// @ts-ignore: decorator
@external("cohab", "scan")
declare function importScan(
  ns: usize, nsLen: i32, prefix: usize, prefixLen: i32, from: usize, fromLen: i32, limit: i32
): i64;
// @ts-ignore: decorator
@external("cohab", "take")
declare function importTake(ptr: usize, capacity: i32): i32;
// @ts-ignore: decorator
@external("cohab", "cache_get")
declare function importCacheGet(key: usize, keyLen: i32): i64;
// @ts-ignore: decorator
@external("cohab", "cache_put")
declare function importCachePut(key: usize, keyLen: i32, value: usize, valueLen: i32, ttlMs: i64): void;
// @ts-ignore: decorator
@external("cohab", "log")
declare function importLog(level: i32, text: usize, textLen: i32): void;
// @ts-ignore: decorator
@external("cohab", "now")
declare function importNow(): i64;
// @ts-ignore: decorator
@external("cohab", "reply")
declare function importReply(ptr: usize, len: i32): void;
// @ts-ignore: decorator
@external("cohab", "fail")
declare function importFail(ptr: usize, len: i32): void;

const ABSENT: u32 = u32.MAX_VALUE;

/** The version of the interface between plugins and host that this file speaks, `api` in the manifest. */
export function cohab_api(): i32 {
  return 1;
}

/** Room for the input of a call. */
export function cohab_alloc(size: i32): usize {
  begin();
  // The runtime aligns to 16.
  return __alloc(size);
}

/** Begins the heap anew. Handlers without input begin with it; for the others, `cohab_alloc` does it. */
export function begin(): void {
  __reset();
}

/** What `abort` is compiled to: the host is told what went wrong and where, and the call ends. */
export function aborted(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message == null ? "aborted" : message;
  const where = file == null ? "" : " at " + file + ":" + line.toString() + ":" + column.toString();
  fail(what + where);
  unreachable();
}

/** Copies `len` bytes at `ptr`, such as a handler's input. */
export function bytes(ptr: usize, len: i32): ArrayBuffer {
  const copy = new ArrayBuffer(len);
  memory.copy(changetype<usize>(copy), ptr, len);
  return copy;
}

/** Text as UTF-8. */
export function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

/** UTF-8 as text. */
export function text(utf8: ArrayBuffer): string {
  return String.UTF8.decode(utf8);
}

/** A change of one key. */
export class Change {
  constructor(
    /** The version of the store that made it; before a commit, the one to come. */
    public version: u64,
    /** When that was committed. */
    public time: u64,
    public namespace: string,
    public key: ArrayBuffer,
    /** The value before, if there was one. */
    public before: ArrayBuffer | null,
    /** The value after, unless the key was removed. */
    public after: ArrayBuffer | null,
  ) {}
}

/** Changes, in the order in which they were committed. */
export class Changes {
  /** How many there are still to come. */
  left: u32;
  private at: usize;

  constructor(ptr: usize) {
    this.left = load<u32>(ptr);
    this.at = ptr + 4;
  }

  /** Returns the next one, or null if that was all. */
  next(): Change | null {
    if (this.left == 0) return null;
    this.left--;
    const version = load<u64>(this.at), time = load<u64>(this.at, 8);
    this.at += 16;
    const namespace = this.piece(), key = this.piece();
    const before = this.piece(), after = this.piece();
    return new Change(version, time, text(namespace!), key!, before, after);
  }

  private piece(): ArrayBuffer | null {
    const len = load<u32>(this.at);
    this.at += 4;
    if (len == ABSENT) return null;
    const piece = bytes(this.at, len);
    this.at += len;
    return piece;
  }
}

/** A key and its value. */
export class Entry {
  constructor(public key: ArrayBuffer, public value: ArrayBuffer) {}
}

/** Returns the value of a key, with what this call has written before, or null. The namespace "" is the plugin's own state. */
export function get(namespace: string, key: ArrayBuffer): ArrayBuffer | null {
  const ns = utf8(namespace);
  return found(importGet(ptr(ns), ns.byteLength, ptr(key), key.byteLength));
}

/** Sets the value of a key. It is committed with everything else that the call writes once the handler has succeeded. */
export function put(namespace: string, key: ArrayBuffer, value: ArrayBuffer): void {
  const ns = utf8(namespace);
  importPut(ptr(ns), ns.byteLength, ptr(key), key.byteLength, ptr(value), value.byteLength);
}

/** Removes a key, and returns whether it was there. */
export function remove(namespace: string, key: ArrayBuffer): bool {
  const ns = utf8(namespace);
  return importDelete(ptr(ns), ns.byteLength, ptr(key), key.byteLength) != 0;
}

/**
 * Returns the entries whose keys begin with `prefix`, in the order of the keys, at most `limit` of them; 0 is all. They have to fit
 * into memory together.
 */
export function scan(namespace: string, prefix: ArrayBuffer, limit: u32 = 0): Entry[] {
  let entries: Entry[] = [], from = new ArrayBuffer(0);
  while (limit == 0 || <u32>entries.length < limit) {
    const page = scanPage(namespace, prefix, from, limit == 0 ? 0 : limit - entries.length);
    // The last page is the one that is empty: how much the host puts into one is its own affair.
    if (page.length == 0) break;
    entries = entries.concat(page);
    // The key to go on with is the last one with a zero byte behind it, as which new buffers begin.
    const last = page[page.length - 1].key;
    from = new ArrayBuffer(last.byteLength + 1);
    memory.copy(ptr(from), ptr(last), last.byteLength);
  }
  return entries;
}

/**
 * Returns the first entries whose keys begin with `prefix` and do not come before `from`, at most `limit` of them (0 is as many as
 * fit), 10,000, and about 1 MiB.
 */
export function scanPage(namespace: string, prefix: ArrayBuffer, from: ArrayBuffer, limit: u32 = 0): Entry[] {
  const ns = utf8(namespace);
  const len = importScan(
    ptr(ns), ns.byteLength, ptr(prefix), prefix.byteLength, ptr(from), from.byteLength, limit
  );
  let at = ptr(found(len)!);
  const count = load<u32>(at), entries = new Array<Entry>(count);
  at += 4;
  for (let i: u32 = 0; i < count; i++) {
    const keyLen = load<u32>(at), key = bytes(at + 4, keyLen);
    at += 4 + keyLen;
    const valueLen = load<u32>(at), value = bytes(at + 4, valueLen);
    at += 4 + valueLen;
    entries[i] = new Entry(key, value);
  }
  return entries;
}

/**
 * Keeps a value in memory for `ttlMs` milliseconds; 0 is as long as there is room. All instances of the plugin share the cache;
 * it is as large as the manifest's `[limits] cache`, and gone when the plugin is reloaded or the process ends.
 */
export function cachePut(key: ArrayBuffer, value: ArrayBuffer, ttlMs: i64): void {
  importCachePut(ptr(key), key.byteLength, ptr(value), value.byteLength, ttlMs);
}

/** Returns what `cachePut` kept under a key, if it is still there. */
export function cacheGet(key: ArrayBuffer): ArrayBuffer | null {
  return found(importCacheGet(ptr(key), key.byteLength));
}

/** How much a line of the log matters. */
export enum Level { Debug, Info, Warn, Error }

/** Logs a line. Needs `log = true` among the grants. Long lines are cut, and so is the log of a call with very many. */
export function log(level: Level, line: string): void {
  const encoded = utf8(line);
  importLog(level, ptr(encoded), encoded.byteLength);
}

/** Returns the time, by the clock of the host. Needs `clock = true` among the grants. */
export function now(): i64 {
  return importNow();
}

/** Answers the request that is being handled. The last answer counts; without any, it is empty. */
export function reply(answer: ArrayBuffer): void {
  importReply(ptr(answer), answer.byteLength);
}

/** Says why the handler fails, and returns what it then has to return. */
export function fail(message: string): i32 {
  const encoded = utf8(message);
  importFail(ptr(encoded), encoded.byteLength);
  return 1;
}

function ptr(buffer: ArrayBuffer): usize {
  return changetype<usize>(buffer);
}

/** Fetches what was found, of which the host returned the length, or -1. */
function found(len: i64): ArrayBuffer | null {
  if (len < 0) return null;
  const value = new ArrayBuffer(<i32>len);
  importTake(ptr(value), <i32>len);
  return value;
}
