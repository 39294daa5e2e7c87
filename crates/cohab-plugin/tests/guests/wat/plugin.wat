;; The contract plugin, by hand.
;;
;; The first page holds texts and a few bytes to work in. What a call brings begins at the second page; what is worked out on the
;; way follows behind it ($free), and the next call begins anew.
(module
  (import "cohab" "get" (func $get (param i32 i32 i32 i32) (result i64)))
  (import "cohab" "put" (func $put (param i32 i32 i32 i32 i32 i32)))
  (import "cohab" "delete" (func $delete (param i32 i32 i32 i32) (result i32)))
  (import "cohab" "scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
  (import "cohab" "take" (func $take (param i32 i32) (result i32)))
  (import "cohab" "cache_get" (func $cache_get (param i32 i32) (result i64)))
  (import "cohab" "cache_put" (func $cache_put (param i32 i32 i32 i32 i64)))
  (import "cohab" "log" (func $log (param i32 i32 i32)))
  (import "cohab" "now" (func $now (result i64)))
  (import "cohab" "reply" (func $reply (param i32 i32)))
  (import "cohab" "fail" (func $fail (param i32 i32)))

  (memory (export "memory") 2)
  (data (i32.const 0) "echo")
  (data (i32.const 16) "get")
  (data (i32.const 32) "put")
  (data (i32.const 48) "delete")
  (data (i32.const 64) "scan")
  (data (i32.const 80) "cache-put")
  (data (i32.const 96) "cache-get")
  (data (i32.const 112) "log")
  (data (i32.const 128) "now")
  (data (i32.const 144) "fail")
  (data (i32.const 160) "count")
  (data (i32.const 176) "loop")
  (data (i32.const 192) "grow")
  (data (i32.const 208) "recurse")
  (data (i32.const 224) "trap")
  (data (i32.const 240) "huge")
  (data (i32.const 256) "absent")
  (data (i32.const 272) "out")
  (data (i32.const 288) "bad")
  (data (i32.const 304) " is bad")
  (data (i32.const 320) "due")
  (data (i32.const 336) "migrated")
  (data (i32.const 352) "no way from 99")
  (data (i32.const 368) "broken")
  (data (i32.const 384) "an unknown command")
  (data (i32.const 416) "n")
  (data (i32.const 432) "1")
  (data (i32.const 448) "0")

  ;; Decimal digits are written towards here.
  (global $digits i32 (i32.const 1024))
  (global $input i32 (i32.const 65536))

  ;; Where there is room.
  (global $free (mut i32) (i32.const 65536))
  ;; What of a request is not yet read.
  (global $at (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))
  ;; The word that was read last.
  (global $word (mut i32) (i32.const 0))
  (global $word_len (mut i32) (i32.const 0))
  ;; The namespace that was read last.
  (global $ns (mut i32) (i32.const 0))
  (global $ns_len (mut i32) (i32.const 0))

  (func (export "cohab_api") (result i32) (i32.const 1))

  (func (export "cohab_alloc") (param $size i32) (result i32)
    (global.set $free (global.get $input))
    (call $room (local.get $size)))

  ;; Makes room for so many bytes, aligned to 8.
  (func $room (param $size i32) (result i32)
    (local $start i32) (local $missing i32)
    (local.set $start (global.get $free))
    (global.set $free
      (i32.and (i32.add (i32.add (local.get $start) (local.get $size)) (i32.const 7)) (i32.const -8)))
    (local.set $missing
      (i32.sub
        (i32.shr_u (i32.add (global.get $free) (i32.const 65535)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable)))))
    (local.get $start))

  ;; Reads a word, up to the next blank.
  (func $next
    (global.set $word (global.get $at))
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (global.get $at) (global.get $end)))
        (br_if $done (i32.eq (i32.load8_u (global.get $at)) (i32.const 32)))
        (global.set $at (i32.add (global.get $at) (i32.const 1)))
        (br $more)))
    (global.set $word_len (i32.sub (global.get $at) (global.get $word)))
    (if (i32.lt_u (global.get $at) (global.get $end))
      (then (global.set $at (i32.add (global.get $at) (i32.const 1))))))

  ;; Reads all that is left.
  (func $rest
    (global.set $word (global.get $at))
    (global.set $word_len (i32.sub (global.get $end) (global.get $at)))
    (global.set $at (global.get $end)))

  ;; Whether the word is `-`.
  (func $is_dash (result i32)
    (if (result i32) (i32.eq (global.get $word_len) (i32.const 1))
      (then (i32.eq (i32.load8_u (global.get $word)) (i32.const 45)))
      (else (i32.const 0))))

  ;; Reads a namespace's name.
  (func $namespace
    (call $next)
    (global.set $ns (global.get $word))
    (global.set $ns_len (select (i32.const 0) (global.get $word_len) (call $is_dash))))

  ;; Whether two texts are the same.
  (func $same (param $a i32) (param $a_len i32) (param $b i32) (param $b_len i32) (result i32)
    (if (i32.ne (local.get $a_len) (local.get $b_len)) (then (return (i32.const 0))))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $a_len)))
        (if (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))) (then (return (i32.const 0))))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (local.set $a_len (i32.sub (local.get $a_len) (i32.const 1)))
        (br $more)))
    (i32.const 1))

  ;; Whether the word is the text at an address.
  (func $is (param $text i32) (param $len i32) (result i32)
    (call $same (global.get $word) (global.get $word_len) (local.get $text) (local.get $len)))

  ;; Reads a decimal number.
  (func $number (param $text i32) (param $len i32) (result i64)
    (local $number i64)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $len)))
        (local.set $number
          (i64.add
            (i64.mul (local.get $number) (i64.const 10))
            (i64.extend_i32_u (i32.sub (i32.load8_u (local.get $text)) (i32.const 48)))))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $more)))
    (local.get $number))

  ;; Writes a decimal number so that it ends at $digits; returns where it begins.
  (func $decimal (param $number i64) (result i32)
    (local $at i32)
    (local.set $at (global.get $digits))
    (loop $more
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))) (i32.const 48)))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $more (i64.ne (local.get $number) (i64.const 0))))
    (local.get $at))

  (func $reply_number (param $number i64)
    (local $at i32)
    (local.set $at (call $decimal (local.get $number)))
    (call $reply (local.get $at) (i32.sub (global.get $digits) (local.get $at))))

  ;; Puts a decimal number under a key of the own state.
  (func $put_number (param $key i32) (param $key_len i32) (param $number i64)
    (local $at i32)
    (local.set $at (call $decimal (local.get $number)))
    (call $put (i32.const 0) (i32.const 0) (local.get $key) (local.get $key_len)
      (local.get $at) (i32.sub (global.get $digits) (local.get $at))))

  ;; Replies what was found, or fails because nothing was.
  (func $reply_found (param $found i64) (result i32)
    (local $len i32) (local $at i32)
    (if (i64.lt_s (local.get $found) (i64.const 0))
      (then
        (call $fail (i32.const 256) (i32.const 6))
        (return (i32.const 1))))
    (local.set $len (i32.wrap_i64 (local.get $found)))
    (local.set $at (call $room (local.get $len)))
    (call $reply (local.get $at) (call $take (local.get $at) (local.get $len)))
    (i32.const 0))

  ;; Copies a text behind what there is.
  (func $append (param $text i32) (param $len i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (drop (call $room (i32.add (local.get $len) (i32.const 8))))
    (memory.copy (local.get $at) (local.get $text) (local.get $len))
    (global.set $free (i32.add (local.get $at) (local.get $len))))

  (func $append_byte (param $byte i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (drop (call $room (i32.const 8)))
    (i32.store8 (local.get $at) (local.get $byte))
    (global.set $free (i32.add (local.get $at) (i32.const 1))))

  (func $do_scan
    (local $prefix i32) (local $prefix_len i32) (local $len i32) (local $at i32) (local $count i32)
    (local $piece i32) (local $begin i32)
    (call $namespace)
    (call $next)
    (local.set $prefix (global.get $word))
    (local.set $prefix_len (select (i32.const 0) (global.get $word_len) (call $is_dash)))
    (call $rest)
    (local.set $len
      (i32.wrap_i64
        (call $scan (global.get $ns) (global.get $ns_len) (local.get $prefix) (local.get $prefix_len)
          (i32.const 0) (i32.const 0)
          (i32.wrap_i64 (call $number (global.get $word) (global.get $word_len))))))
    (local.set $at (call $room (local.get $len)))
    (drop (call $take (local.get $at) (local.get $len)))
    (local.set $begin (global.get $free))
    (local.set $count (i32.load (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $piece (i32.load (local.get $at)))
        (call $append (i32.add (local.get $at) (i32.const 4)) (local.get $piece))
        (local.set $at (i32.add (local.get $at) (i32.add (local.get $piece) (i32.const 4))))
        (call $append_byte (i32.const 61))
        (local.set $piece (i32.load (local.get $at)))
        (call $append (i32.add (local.get $at) (i32.const 4)) (local.get $piece))
        (local.set $at (i32.add (local.get $at) (i32.add (local.get $piece) (i32.const 4))))
        (call $append_byte (i32.const 10))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $more)))
    (call $reply (local.get $begin) (i32.sub (global.get $free) (local.get $begin))))

  (func $do_cache_put
    (local $key i32) (local $key_len i32) (local $ttl i64)
    (call $next)
    (local.set $key (global.get $word))
    (local.set $key_len (global.get $word_len))
    (call $next)
    (local.set $ttl (call $number (global.get $word) (global.get $word_len)))
    (call $rest)
    (call $cache_put (local.get $key) (local.get $key_len) (global.get $word) (global.get $word_len)
      (local.get $ttl)))

  (func $do_count
    (local $found i64) (local $at i32)
    (local.set $found (call $get (i32.const 0) (i32.const 0) (i32.const 416) (i32.const 1)))
    (if (i64.lt_s (local.get $found) (i64.const 0))
      (then (local.set $found (i64.const 0)))
      (else
        (local.set $at (call $room (i32.wrap_i64 (local.get $found))))
        (local.set $found
          (call $number (local.get $at) (call $take (local.get $at) (i32.wrap_i64 (local.get $found)))))))
    (local.set $found (i64.add (local.get $found) (i64.const 1)))
    (call $put_number (i32.const 416) (i32.const 1) (local.get $found))
    (call $reply_number (local.get $found)))

  (func $loop (loop $more (br $more)))

  (func $grow
    (loop $more
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
      (br $more)))

  (func $recurse (param $depth i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get $depth) (i32.const 1))) (i32.const 1)))

  (func $trap unreachable)

  (func (export "on_request") (param $at i32) (param $len i32) (result i32)
    (local $key i32) (local $key_len i32)
    (global.set $at (local.get $at))
    (global.set $end (i32.add (local.get $at) (local.get $len)))
    (call $next)
    (if (call $is (i32.const 0) (i32.const 4)) ;; echo
      (then
        (call $rest)
        (call $reply (global.get $word) (global.get $word_len))
        (return (i32.const 0))))
    (if (call $is (i32.const 16) (i32.const 3)) ;; get
      (then
        (call $namespace)
        (call $rest)
        (return
          (call $reply_found
            (call $get (global.get $ns) (global.get $ns_len) (global.get $word) (global.get $word_len))))))
    (if (call $is (i32.const 32) (i32.const 3)) ;; put
      (then
        (call $namespace)
        (call $next)
        (local.set $key (global.get $word))
        (local.set $key_len (global.get $word_len))
        (call $rest)
        (call $put (global.get $ns) (global.get $ns_len) (local.get $key) (local.get $key_len)
          (global.get $word) (global.get $word_len))
        (return (i32.const 0))))
    (if (call $is (i32.const 48) (i32.const 6)) ;; delete
      (then
        (call $namespace)
        (call $rest)
        (call $reply
          (select (i32.const 432) (i32.const 448)
            (call $delete (global.get $ns) (global.get $ns_len) (global.get $word) (global.get $word_len)))
          (i32.const 1))
        (return (i32.const 0))))
    (if (call $is (i32.const 64) (i32.const 4)) ;; scan
      (then (call $do_scan) (return (i32.const 0))))
    (if (call $is (i32.const 80) (i32.const 9)) ;; cache-put
      (then (call $do_cache_put) (return (i32.const 0))))
    (if (call $is (i32.const 96) (i32.const 9)) ;; cache-get
      (then
        (call $rest)
        (return (call $reply_found (call $cache_get (global.get $word) (global.get $word_len))))))
    (if (call $is (i32.const 112) (i32.const 3)) ;; log
      (then
        (call $rest)
        (call $log (i32.const 1) (global.get $word) (global.get $word_len))
        (return (i32.const 0))))
    (if (call $is (i32.const 128) (i32.const 3)) ;; now
      (then (call $reply_number (call $now)) (return (i32.const 0))))
    (if (call $is (i32.const 144) (i32.const 4)) ;; fail
      (then
        (call $rest)
        (call $fail (global.get $word) (global.get $word_len))
        (return (i32.const 1))))
    (if (call $is (i32.const 160) (i32.const 5)) ;; count
      (then (call $do_count) (return (i32.const 0))))
    (if (call $is (i32.const 176) (i32.const 4)) (then (call $loop)))
    (if (call $is (i32.const 192) (i32.const 4)) (then (call $grow)))
    (if (call $is (i32.const 208) (i32.const 7)) (then (return (call $recurse (i32.const 0)))))
    (if (call $is (i32.const 224) (i32.const 4)) (then (call $trap)))
    (if (call $is (i32.const 240) (i32.const 4)) ;; huge
      (then
        (call $rest)
        (local.set $key_len (i32.wrap_i64 (call $number (global.get $word) (global.get $word_len))))
        (local.set $key (call $room (local.get $key_len)))
        (memory.fill (local.get $key) (i32.const 48) (local.get $key_len))
        (call $reply (local.get $key) (local.get $key_len))
        (return (i32.const 0))))
    (call $fail (i32.const 384) (i32.const 18))
    (i32.const 1))

  ;; Reads a piece of a change; its length is -1 if it is not there.
  (func $piece (result i32 i32)
    (local $at i32) (local $len i32)
    (local.set $len (i32.load (global.get $at)))
    (local.set $at (i32.add (global.get $at) (i32.const 4)))
    (global.set $at
      (i32.add (local.get $at)
        (select (i32.const 0) (local.get $len) (i32.eq (local.get $len) (i32.const -1)))))
    (local.get $at)
    (local.get $len))

  ;; Goes through the changes: copies what is put to `out`, or looks whether something is `bad`.
  (func $changes (param $is_before i32) (param $at i32) (result i32)
    (local $count i32) (local $key i32) (local $key_len i32) (local $after i32) (local $after_len i32)
    (local $message i32)
    (local.set $count (i32.load (local.get $at)))
    (global.set $at (i32.add (local.get $at) (i32.const 4)))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (global.set $at (i32.add (global.get $at) (i32.const 16))) ;; version, time
        (call $piece) (drop) (drop) ;; namespace
        (call $piece) (local.set $key_len) (local.set $key)
        (call $piece) (drop) (drop) ;; before
        (call $piece) (local.set $after_len) (local.set $after)
        (if (local.get $is_before)
          (then
            (br_if $more
              (i32.eqz
                (call $same (local.get $after) (local.get $after_len) (i32.const 288) (i32.const 3))))
            (local.set $message (global.get $free))
            (call $append (local.get $key) (local.get $key_len))
            (call $append (i32.const 304) (i32.const 7))
            (call $fail (local.get $message) (i32.sub (global.get $free) (local.get $message)))
            (return (i32.const 1)))
          (else
            (if (i32.eq (local.get $after_len) (i32.const -1))
              (then
                (drop (call $delete (i32.const 272) (i32.const 3) (local.get $key) (local.get $key_len))))
              (else
                (call $put (i32.const 272) (i32.const 3) (local.get $key) (local.get $key_len)
                  (local.get $after) (local.get $after_len))))))
        (br $more)))
    (i32.const 0))

  (func (export "on_commit") (param $at i32) (param $len i32) (result i32)
    (call $changes (i32.const 0) (local.get $at)))

  (func (export "before_commit") (param $at i32) (param $len i32) (result i32)
    (call $changes (i32.const 1) (local.get $at)))

  (func (export "on_schedule") (param $due i64) (result i32)
    (call $put_number (i32.const 320) (i32.const 3) (local.get $due))
    (i32.const 0))

  (func (export "migrate") (param $from i32) (result i32)
    (if (i32.eq (local.get $from) (i32.const 99))
      (then
        (call $fail (i32.const 352) (i32.const 14))
        (return (i32.const 1))))
    (call $put_number (i32.const 336) (i32.const 8) (i64.extend_i32_u (local.get $from)))
    (i32.const 0))

  (func (export "check") (result i32)
    (if (i64.ge_s (call $get (i32.const 0) (i32.const 0) (i32.const 368) (i32.const 6)) (i64.const 0))
      (then
        (call $fail (i32.const 368) (i32.const 6))
        (return (i32.const 1))))
    (i32.const 0)))
