// The plugin of the contract suite, in AssemblyScript.

import * as cohab from "./cohab";

export { cohab_api, cohab_alloc } from "./cohab";

const STATE = "";

export function on_commit(ptr: usize, len: i32): i32 {
  const changes = new cohab.Changes(ptr);
  for (let change = changes.next(); change != null; change = changes.next()) {
    const after = change.after;
    if (after != null) {
      cohab.put("out", change.key, after);
    } else {
      cohab.remove("out", change.key);
    }
  }
  return 0;
}

export function before_commit(ptr: usize, len: i32): i32 {
  const changes = new cohab.Changes(ptr);
  for (let change = changes.next(); change != null; change = changes.next()) {
    const after = change.after;
    if (after != null && cohab.text(after) == "bad") return cohab.fail(cohab.text(change.key) + " is bad");
  }
  return 0;
}

export function on_schedule(due: i64): i32 {
  cohab.begin();
  cohab.put(STATE, cohab.utf8("due"), cohab.utf8(due.toString()));
  return 0;
}

export function migrate(from: i32): i32 {
  cohab.begin();
  if (from == 99) return cohab.fail("no way from 99");
  cohab.put(STATE, cohab.utf8("migrated"), cohab.utf8(from.toString()));
  return 0;
}

export function check(): i32 {
  cohab.begin();
  return cohab.get(STATE, cohab.utf8("broken")) == null ? 0 : cohab.fail("broken");
}

export function on_request(ptr: usize, len: i32): i32 {
  const input = new Words(cohab.bytes(ptr, len));
  const command = input.word();
  if (command == "echo") {
    cohab.reply(input.rest());
  } else if (command == "get") {
    const namespace = input.namespace();
    return replyIfThere(cohab.get(namespace, input.rest()));
  } else if (command == "put") {
    const namespace = input.namespace(), key = input.piece();
    cohab.put(namespace, key, input.rest());
  } else if (command == "delete") {
    const namespace = input.namespace();
    cohab.reply(cohab.utf8(cohab.remove(namespace, input.rest()) ? "1" : "0"));
  } else if (command == "scan") {
    const namespace = input.namespace(), prefix = input.word(), limit = U32.parseInt(input.word());
    list(namespace, prefix == "-" ? "" : prefix, limit);
  } else if (command == "cache-put") {
    const key = input.piece(), ttlMs = I64.parseInt(input.word());
    cohab.cachePut(key, input.rest(), ttlMs);
  } else if (command == "cache-get") {
    return replyIfThere(cohab.cacheGet(input.rest()));
  } else if (command == "log") {
    cohab.log(cohab.Level.Info, cohab.text(input.rest()));
  } else if (command == "now") {
    cohab.reply(cohab.utf8(cohab.now().toString()));
  } else if (command == "fail") {
    return cohab.fail(cohab.text(input.rest()));
  } else if (command == "count") {
    const kept = cohab.get(STATE, cohab.utf8("n"));
    const n = kept == null ? 0 : U64.parseInt(cohab.text(kept));
    const counted = cohab.utf8((n + 1).toString());
    cohab.put(STATE, cohab.utf8("n"), counted);
    cohab.reply(counted);
  } else if (command == "loop") {
    for (;;) seen++;
  } else if (command == "grow") {
    for (;;) seen += new ArrayBuffer(64 << 10).byteLength;
  } else if (command == "recurse") {
    seen = recurse(1);
  } else if (command == "trap") {
    unreachable();
  } else if (command == "huge") {
    const zeros = new ArrayBuffer(I32.parseInt(input.word()));
    memory.fill(changetype<usize>(zeros), 0x30, zeros.byteLength);
    cohab.reply(zeros);
  } else {
    return cohab.fail("there is no such request");
  }
  return 0;
}

/** So that the compiler can't leave out what goes on for ever. */
let seen: i64 = 0;

/** Each call has something to do after the one within. */
function recurse(depth: i64): i64 {
  return (recurse(depth + 1) ^ depth) + seen++;
}

function replyIfThere(value: ArrayBuffer | null): i32 {
  if (value == null) return cohab.fail("absent");
  cohab.reply(value);
  return 0;
}

function list(namespace: string, prefix: string, limit: u32): void {
  const entries = cohab.scanPage(namespace, cohab.utf8(prefix), new ArrayBuffer(0), limit);
  let size = 0;
  for (let i = 0; i < entries.length; i++) size += entries[i].key.byteLength + entries[i].value.byteLength + 2;
  const lines = new ArrayBuffer(size);
  let at = changetype<usize>(lines);
  for (let i = 0; i < entries.length; i++) {
    const key = entries[i].key, value = entries[i].value;
    memory.copy(at, changetype<usize>(key), key.byteLength);
    at += key.byteLength;
    store<u8>(at++, 0x3d);
    memory.copy(at, changetype<usize>(value), value.byteLength);
    at += value.byteLength;
    store<u8>(at++, 0x0a);
  }
  cohab.reply(lines);
}

/** A request: words, separated by one blank, the last of which takes the rest. */
class Words {
  private at: i32 = 0;

  constructor(private text: ArrayBuffer) {}

  /** The bytes of the next word. */
  piece(): ArrayBuffer {
    const begin = this.at, all = this.text.byteLength;
    let end = begin;
    while (end < all && load<u8>(changetype<usize>(this.text) + end) != 0x20) end++;
    this.at = end < all ? end + 1 : end;
    return this.text.slice(begin, end);
  }

  word(): string {
    return cohab.text(this.piece());
  }

  /** The next word as a namespace: - is the own state. */
  namespace(): string {
    const name = this.word();
    return name == "-" ? STATE : name;
  }

  rest(): ArrayBuffer {
    return this.text.slice(this.at);
  }
}
