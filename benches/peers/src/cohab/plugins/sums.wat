;; Adds up the numbers in what is committed, and counts requests.
(module
  (import "cohab" "get" (func $get (param i32 i32 i32 i32) (result i64)))
  (import "cohab" "put" (func $put (param i32 i32 i32 i32 i32 i32)))
  (import "cohab" "take" (func $take (param i32 i32) (result i32)))
  (import "cohab" "reply" (func $reply (param i32 i32)))

  ;; The second page on is for what is handed over. Before that: at 128 what is fetched, and up to 256 the digits of a number.
  (memory (export "memory") 20)
  (data (i32.const 0) "{mark} ")
  (data (i32.const 64) "sum")
  (data (i32.const 72) "count")

  (func (export "cohab_api") (result i32) (i32.const 1))
  (func (export "cohab_alloc") (param $size i32) (result i32) (i32.const 65536))

  ;; Reads the digits from an address on, but not beyond the end.
  (func $number (param $at i32) (param $end i32) (result i64)
    (local $number i64) (local $digit i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
        (br_if $done (i32.gt_u (local.get $digit) (i32.const 9)))
        (local.set $number
          (i64.add (i64.mul (local.get $number) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $number))

  ;; Writes digits that end at 256; returns where they begin.
  (func $digits (param $number i64) (result i32)
    (local $at i32)
    (local.set $at (i32.const 256))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8
        (local.get $at)
        (i32.add (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))) (i32.const 48)))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i64.ne (local.get $number) (i64.const 0))))
    (local.get $at))

  ;; Fetches a value of the state to 128; returns where it ends.
  (func $fetch (param $key i32) (param $len i32) (result i32)
    (if (i64.lt_s (call $get (i32.const 0) (i32.const 0) (local.get $key) (local.get $len)) (i64.const 0))
      (then (return (i32.const 128))))
    (i32.add (i32.const 128) (call $take (i32.const 128) (i32.const 64))))

  (func $keep (param $key i32) (param $len i32) (param $number i64)
    (local $at i32)
    (local.set $at (call $digits (local.get $number)))
    (call $put (i32.const 0) (i32.const 0) (local.get $key) (local.get $len)
      (local.get $at) (i32.sub (i32.const 256) (local.get $at))))

  ;; Where the piece of a change ends whose length is at an address.
  (func $after (param $at i32) (result i32)
    (local $len i32)
    (local.set $len (i32.load (local.get $at)))
    (i32.add
      (i32.add (local.get $at) (i32.const 4))
      (select (i32.const 0) (local.get $len) (i32.eq (local.get $len) (i32.const -1)))))

  (func (export "on_commit") (param $at i32) (param $len i32) (result i32)
    (local $left i32) (local $sum i64)
    (local.set $sum (call $number (i32.const 128) (call $fetch (i32.const 64) (i32.const 3))))
    (local.set $left (i32.load (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        ;; Behind the version, the time, the namespace, the key and the value before.
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $at (call $after (call $after (call $after (local.get $at)))))
        (local.set $sum
          (i64.add
            (local.get $sum)
            (call $number (i32.add (local.get $at) (i32.const 4)) (call $after (local.get $at)))))
        (local.set $at (call $after (local.get $at)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (call $keep (i32.const 64) (i32.const 3) (local.get $sum))
    (i32.const 0))

  (func (export "on_request") (param $at i32) (param $len i32) (result i32)
    (local $count i64)
    (if (i32.eqz (local.get $len))
      (then
        (call $reply (i32.const 0) (i32.const 8))
        (return (i32.const 0))))
    ;; `sum`
    (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 115))
      (then
        (call $reply (i32.const 128) (i32.sub (call $fetch (i32.const 64) (i32.const 3)) (i32.const 128)))
        (return (i32.const 0))))
    ;; `count`
    (local.set $count
      (i64.add (call $number (i32.const 128) (call $fetch (i32.const 72) (i32.const 5))) (i64.const 1)))
    (call $keep (i32.const 72) (i32.const 5) (local.get $count))
    (local.set $at (call $digits (local.get $count)))
    (local.set $len (i32.sub (i32.const 256) (local.get $at)))
    (memory.copy (i32.const 9) (local.get $at) (local.get $len))
    (call $reply (i32.const 0) (i32.add (i32.const 9) (local.get $len)))
    (i32.const 0))
  {more}
)
