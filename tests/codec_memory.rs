//! What codecs allocate: nothing to decode, and never what a peer merely claims.
//!
//! The allocator of this program keeps account for each thread by itself, so that tests which run
//! at the same time do not see each other.
#![allow(
    unsafe_code,
    reason = "only an allocator can count allocations, and it is unsafe to be one"
)]

use polyserve::codec::{DecodeError, Decoder, Delimited, Encoder, Fixed, LengthPrefixed, Lines};
use polyserve::testing::Script;
use polyserve::{Framed, Limits};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// What this thread holds, and the most that it has held, since `reset`.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// How often it asked for memory.
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
}

fn reset() {
    HELD.set(0);
    PEAK.set(0);
    REQUESTS.set(0);
}

fn account(change: isize) {
    // A thread whose locals are gone is past its test.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        PEAK.set(PEAK.get().max(held.get()));
        REQUESTS.set(REQUESTS.get() + usize::from(change > 0));
    });
}

struct Accountant;

#[global_allocator]
static ALLOCATOR: Accountant = Accountant;

// SAFETY: the system's allocator does all of the work, with the arguments as they came. Keeping
// account allocates nothing: the thread-locals are constants without a destructor. `realloc` is the
// default, which moves by `alloc` and `dealloc`, so that both blocks count while both are there.
unsafe impl GlobalAlloc for Accountant {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        account(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Runs it, and tells how often it asked for memory, and how many bytes it held at most.
fn allocated<R>(run: impl FnOnce() -> R) -> (usize, usize) {
    reset();
    std::hint::black_box(run());
    (REQUESTS.get(), PEAK.get() as usize)
}

const KIB: usize = 1024;

#[test]
fn the_accountant_sees_what_is_allocated() {
    let (requests, peak) = allocated(|| {
        drop(vec![1_u8; 1000]);
        let mut grows = Vec::with_capacity(100);
        grows.push(1_u8);
        grows.reserve_exact(2000);
    });
    assert_eq!(requests, 3);
    assert_eq!(peak, 100 + 2001, "both blocks are there while one moves to the other");
}

/// Decodes every beginning of the input, and asks again, whatever the answer is.
fn decode_all_beginnings<C: Decoder + Clone>(name: &str, codec: &C, inputs: &[&[u8]]) {
    for input in inputs {
        let mut codec = codec.clone();
        let (requests, _) = allocated(|| {
            for end in 1..=input.len() {
                let _ = std::hint::black_box(codec.decode(&input[..end]).is_ok());
            }
        });
        assert_eq!(requests, 0, "{name}: {}", input.escape_ascii());
    }
}

#[test]
fn decoding_allocates_nothing() {
    let inputs: [&[u8]; 8] = [
        b"\x00\x00\x00\x05hello\r\n\0",
        b"one\r\ntwo\r\n\r\n\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
        b"\x80\x00",
        b"\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xc3\n",
    ];
    decode_all_beginnings("Lines", &Lines::new().max_len(4), &inputs);
    decode_all_beginnings("Delimited::lines", &Delimited::lines().max_len(4), &inputs);
    decode_all_beginnings("Delimited", &Delimited::new(b"\r\n\0"), &inputs);
    decode_all_beginnings("Fixed", &Fixed::new(4), &inputs);
    for codec in [
        LengthPrefixed::u8(),
        LengthPrefixed::u16().includes_header(),
        LengthPrefixed::u24().little_endian(),
        LengthPrefixed::u32().max_len(usize::MAX),
        LengthPrefixed::u64().max_len(usize::MAX),
        LengthPrefixed::varint(),
    ] {
        decode_all_beginnings(&format!("{codec:?}"), &codec, &inputs);
        decode_all_beginnings(&format!("{codec:?}"), &codec.with_header::<2>(), &inputs);
    }
}

#[test]
fn encoding_into_an_output_with_room_allocates_nothing() {
    let mut out = Vec::with_capacity(KIB);
    let mut by_four = Delimited::new(b"\r\n\r\n");
    let (requests, _) = allocated(|| {
        Lines::new().crlf().encode("a line", &mut out).unwrap();
        by_four.encode(b"a frame", &mut out).unwrap();
        by_four.encode(b"a frame\r\n\r\nand one more", &mut out).unwrap_err();
        Fixed::new(4).encode(b"four", &mut out).unwrap();
        LengthPrefixed::u32().encode(b"a frame", &mut out).unwrap();
        LengthPrefixed::varint().with_header().encode((b"!", b"a frame"), &mut out).unwrap();
    });
    assert_eq!(requests, 0);
    assert_eq!(out.len(), 8 + 11 + 4 + 11 + 9);
}

/// A connection whose codec takes what it gets, and whose server holds as much; open already.
fn without_limits(codec: LengthPrefixed) -> Script {
    let mut limits = Limits::default();
    limits.input = usize::MAX;
    let codec = codec.max_len(usize::MAX);
    let mut script = Script::new(move |_| Framed::new(codec, |frame, replies| replies.send(frame)))
        .limits(limits);
    script.open();
    script
}

#[test]
fn a_claim_costs_nothing_until_its_bytes_come() {
    for (name, codec, claim) in [
        ("1 GiB", LengthPrefixed::u32(), &b"\x40\x00\x00\x00"[..]),
        ("4 GiB", LengthPrefixed::u32(), b"\xff\xff\xff\xff"),
        ("4 EiB", LengthPrefixed::u64(), b"\x40\x00\x00\x00\x00\x00\x00\x00"),
        ("4 GiB", LengthPrefixed::varint(), b"\xff\xff\xff\xff\x0f"),
    ] {
        // Where an address has 32 bits, no limit makes room for more.
        if usize::BITS == 32 && name != "1 GiB" {
            let mut codec = codec.max_len(usize::MAX);
            let error = codec.decode(claim).unwrap_err();
            assert!(matches!(error, DecodeError::TooLong { .. }), "{name}: {error}");
            continue;
        }
        let mut script = without_limits(codec);
        let part = [claim, b"and a part"].concat();
        let (_, peak) = allocated(|| {
            script.recv(&part);
        });
        assert_eq!(script.close_kind(), None, "{name}: {:?}", script.close_text());
        assert_eq!(script.held().input, part.len(), "{name}");
        assert!(peak < 64 * KIB, "a claim of {name} made the connection hold {peak} bytes");
    }
}

#[test]
fn memory_follows_what_has_come() {
    let mut script = without_limits(LengthPrefixed::u32());
    script.recv(b"\x40\x00\x00\x00"); // 1 GiB
    let piece = vec![b'x'; 16 * KIB];
    let (_, peak) = allocated(|| {
        for _ in 0..16 {
            script.recv(&piece);
        }
    });
    assert_eq!(script.held().input, 256 * KIB + 4);
    // Twice for a buffer that grows by doubling, half of that for the old one while it is moved,
    // and what the script itself has on the wire.
    assert!(peak < 3 * 256 * KIB + 64 * KIB, "256 KiB have come, and {peak} bytes were held");
}

#[test]
fn a_frame_without_end_holds_no_more_than_the_limit() {
    let mut script = Script::new(|_| Framed::new(Lines::new(), |line, replies| replies.send(line)));
    script.open();
    let (_, peak) = allocated(|| {
        while script.close_kind().is_none() {
            script.recv(b"x");
        }
    });
    assert_eq!(script.received(), 8 * 1024 + 1);
    assert!(peak < 64 * KIB, "{peak} bytes were held for a line of 8 KiB");
}

#[test]
fn what_is_left_of_a_large_message_keeps_little_memory() {
    const LEN: usize = 1_000_000;
    let framed = || Framed::new(LengthPrefixed::u32(), |_, replies| replies.send(&b""[..]));
    let mut script = Script::new(move |_| framed());
    script.open();
    let mut message = (LEN as u32).to_be_bytes().to_vec();
    message.resize(4 + LEN, b'x');
    // And the beginning of the next.
    message.extend([0, 0]);
    reset();
    for piece in message.chunks(50_000) {
        script.recv(piece);
    }
    let held = HELD.get();
    assert_eq!(script.received(), message.len() as u64);
    assert!(held < 300 * KIB as isize, "{held} bytes are kept for 2");
}
