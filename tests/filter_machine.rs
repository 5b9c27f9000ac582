//! The kernel as judge of the filter machine: the same programs, attached to a socket, are accepted and
//! refused alike, and let the same packets through.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::ErrorKind;

use netsonde_core::recorder::filter::{Instruction, Program, Reason, View};
use netsonde_core::wire::Direction;
use proptest::prelude::*;
use socket2::{Domain, SockFilter, Socket, Type};

const fn op(code: u16, k: u32) -> Instruction {
    branch(code, k, 0, 0)
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

const ST: u16 = 0x02;
const JA: u16 = 0x05;
const RET: u16 = 0x06;
const RET_A: u16 = 0x16;
const TXA: u16 = 0x87;

/// A pair of datagram sockets; what is sent into one passes the filter of the other.
struct Kernel {
    near: Socket,
    far: Socket,
}

impl Kernel {
    fn new() -> Kernel {
        let (near, far) = Socket::pair(Domain::UNIX, Type::DGRAM, None).expect("a socket pair");
        far.set_nonblocking(true).expect("non-blocking");
        Kernel { near, far }
    }

    fn attach(&self, code: &[Instruction]) -> std::io::Result<()> {
        let one = |it: &Instruction| SockFilter::new(it.code, it.jt, it.jf, it.k);
        self.far
            .attach_filter(&code.iter().map(one).collect::<Vec<_>>())
    }

    /// How many bytes the kernel let through.
    fn run(&self, packet: &[u8]) -> usize {
        self.near.send(packet).expect("sent");
        let mut kept = [0; 2048];
        match std::io::Read::read(&mut &self.far, &mut kept) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Any instruction whatever, though mostly of codes that exist.
fn instruction() -> impl Strategy<Value = Instruction> {
    let code = prop_oneof![20 => 0u16..0x100, 1 => any::<u16>()];
    let k = prop_oneof![6 => 0u32..40, 1 => any::<u32>()];
    (code, 0u8..6, 0u8..6, k).prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

/// An instruction that is valid on its own, with its neighbours where it needs them. `shift` and
/// `anywhere` allow what the kernel and libpcap do differently: shifts by 32 bits and more, and
/// loads at X + k above 2^31 (the kernel counts from the network header there).
fn piece(shift: bool, anywhere: bool) -> impl Strategy<Value = Vec<Instruction>> {
    let loads = prop::sample::select(vec![0x20, 0x28, 0x30, 0xb1]);
    let indirect = prop::sample::select(vec![0x40, 0x48, 0x50]);
    let alu = prop::sample::select(vec![
        0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x94, 0x9c, 0xa4,
        0xac,
    ]);
    let jumps = prop::sample::select(vec![0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d]);
    let k = || prop_oneof![4 => 1u32..80, 1 => any::<u32>()];
    let shifts: Vec<u16> = if shift {
        vec![0x64, 0x74, 0x6c, 0x7c]
    } else {
        vec![0x64, 0x74]
    };
    prop_oneof![
        5 => (loads, 0u32..70).prop_map(|(code, k)| vec![op(code, k)]),
        3 => (indirect, 0u32..40).prop_map(move |(code, k)| if anywhere {
            vec![op(code, k)]
        } else {
            vec![op(TXA, 0), op(0x54, 0x1f), op(0x07, 0), op(code, k)]
        }),
        5 => (alu, k()).prop_map(|(code, k)| vec![op(code, k.max(1))]),
        1 => (prop::sample::select(shifts), 0u32..32).prop_map(|(code, k)| vec![op(code, k)]),
        3 => (prop::sample::select(vec![0x00, 0x01, 0x80, 0x81, 0x84, 0x07, 0x87]), k())
            .prop_map(|(code, k)| vec![op(code, k)]),
        2 => (prop::sample::select(vec![0x02, 0x03, 0x60, 0x61]), 0u32..4)
            .prop_map(|(code, k)| vec![op(code, k)]),
        6 => (jumps, k(), 0u8..6, 0u8..6)
            .prop_map(|(code, k, jt, jf)| vec![branch(code, k, jt, jf)]),
        1 => (0u32..5).prop_map(|k| vec![op(JA, k)]),
        1 => prop_oneof![Just(op(RET_A, 0)), (0u32..80).prop_map(|k| op(RET, k))]
            .prop_map(|it| vec![it]),
    ]
}

/// A program of pieces. Jumps count pieces until they are laid out, so that none leads into the
/// middle of one.
fn code(shift: bool, anywhere: bool) -> impl Strategy<Value = Vec<Instruction>> {
    prop::collection::vec(piece(shift, anywhere), 1..30).prop_map(|pieces| {
        // Scratch words are written first.
        let mut code: Vec<_> = (0..4).map(|word| op(ST, word)).collect();
        let mut starts = vec![code.len()];
        for piece in &pieces {
            starts.push(starts[starts.len() - 1] + piece.len());
        }
        for (count, mut piece) in pieces.into_iter().enumerate() {
            let next = starts[count + 1];
            let skip = |pieces: usize| starts.get(count + 1 + pieces).unwrap_or(&next) - next;
            for it in &mut piece {
                if it.code == JA {
                    it.k = skip(it.k as usize) as u32;
                } else {
                    (it.jt, it.jf) = (skip(it.jt.into()) as u8, skip(it.jf.into()) as u8);
                }
            }
            code.extend(piece);
        }
        code.push(op(RET_A, 0));
        code
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever passes verification runs over anything, and ends.
    #[test]
    fn verified_programs_never_panic(
        wild in prop::collection::vec(instruction(), 1..40),
        tame in code(true, true),
        packet in prop::collection::vec(any::<u8>(), 0..80),
        wire_length: u32,
    ) {
        for code in [wild, tame] {
            if let Ok(program) = Program::verify(code) {
                program.run_view(&packet, wire_length, Direction::ToUs, View::Wire);
                program.run_view(&packet, wire_length, Direction::ToUs, View::Stripped);
            }
        }
    }

    /// The kernel accepts what we accept and refuses what we refuse, but for what only the kernel
    /// has, ancillary data and negative offsets, and for what only we have, jumps backward.
    #[test]
    fn rejected_programs_match_the_kernel(
        wild in prop::collection::vec(instruction(), 1..6),
        tame in code(true, true),
        at: prop::sample::Index,
    ) {
        let kernel = Kernel::new();
        let mut mutated = tame;
        let at = at.index(mutated.len());
        mutated[at] = wild[0];
        let mut wild = wild;
        wild.push(op(RET, 1));
        for code in [wild, mutated] {
            let ours = Program::verify(code.clone());
            let theirs = kernel.attach(&code);
            let backward = |it: &Instruction| it.code == JA && (it.k as i32) < 0;
            match ours {
                Ok(_) if code.iter().any(backward) => {}
                Ok(_) => prop_assert!(theirs.is_ok(), "{code:?}"),
                Err(invalid) => match invalid.reason {
                    Reason::Ancillary => {}
                    reason => prop_assert!(theirs.is_err(), "{reason}: {code:?}"),
                },
            }
        }
    }

    /// The kernel keeps as many bytes as we say.
    #[test]
    fn verdicts_match_the_kernel(
        code in code(false, false),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..100), 8),
    ) {
        let program = Program::verify(code.clone()).unwrap();
        let kernel = Kernel::new();
        kernel.attach(&code).unwrap();
        for packet in &packets {
            let length = u32::try_from(packet.len()).unwrap();
            let ours = program.run_view(packet, length, Direction::ToUs, View::Wire).min(length);
            prop_assert_eq!(kernel.run(packet), ours as usize, "{:?} on {:?}", code, packet);
        }
    }
}
