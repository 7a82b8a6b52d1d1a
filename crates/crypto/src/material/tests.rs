use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

/// Lengths around every border between slot sizes, pages and own mappings.
const LENGTHS: [usize; 23] = [
    0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 16_383, 16_384, 16_385,
    65_536, 65_537, 1_000_003,
];

#[test]
fn material_of_every_size_is_zero_writable_and_of_its_length() {
    for length in LENGTHS {
        let mut material = KeyMaterial::zeroed(length);
        assert_eq!(material.len(), length);
        assert_eq!(material.is_empty(), length == 0);
        assert!(material.expose().iter().all(|byte| *byte == 0));
        material.expose_mut().fill(0xa5);
        assert!(material.expose().iter().all(|byte| *byte == 0xa5));
    }
}

#[test]
fn freed_material_is_wiped_before_it_is_used_again() {
    for length in LENGTHS {
        for _ in 0..4 {
            // Several live at once, so that reuse happens in another order than allocation.
            let mut materials: Vec<_> = (0..9).map(|_| KeyMaterial::zeroed(length)).collect();
            for material in &mut materials {
                assert!(material.expose().iter().all(|byte| *byte == 0), "length {length}");
                material.expose_mut().fill(0xff);
            }
        }
    }
}

#[test]
fn live_slots_never_overlap() {
    let materials: Vec<_> =
        (1..=600_usize).map(|length| KeyMaterial::copy_from(&vec![7; length * 3])).collect();
    let mut ranges: Vec<_> = materials.iter().map(|material| material.expose().as_ptr_range()).collect();
    ranges.sort_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        assert!(pair[0].end <= pair[1].start);
    }
}

#[test]
fn threads_share_the_allocator_without_seeing_each_others_secrets() {
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread_number in 0..8_u8 {
            let rounds = &rounds;
            scope.spawn(move || {
                let mut held: Vec<(u8, KeyMaterial)> = Vec::new();
                for round in 0..3000_usize {
                    let length = LENGTHS[(round * 7 + usize::from(thread_number)) % 21];
                    let mark =
                        thread_number.wrapping_mul(31).wrapping_add(u8::try_from(round % 251).unwrap()) | 1;
                    let mut material = KeyMaterial::zeroed(length);
                    assert!(material.expose().iter().all(|byte| *byte == 0));
                    material.expose_mut().fill(mark);
                    held.push((mark, material));
                    if held.len() > 12 {
                        let (mark, material) = held.swap_remove(round % 12);
                        assert!(material.expose().iter().all(|byte| *byte == mark));
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                for (mark, material) in held {
                    assert!(material.expose().iter().all(|byte| *byte == mark));
                }
            });
        }
    });
    assert_eq!(rounds.into_inner(), 24_000);
}

#[test]
fn material_moves_between_threads() {
    let material = KeyMaterial::copy_from(b"made here");
    let back = thread::spawn(move || {
        assert!(material.ct_eq(b"made here"));
        material
    });
    assert!(back.join().unwrap().ct_eq(b"made here"));
}

#[test]
fn random_keys_have_the_length_asked_for_and_zero_unused_bits() {
    for bits in [8, 9, 15, 16, 127, 128, 192, 255, 256, 521, 2048, 65_535, 65_536] {
        let mut seen_last_bits = 0;
        for _ in 0..64 {
            let key = KeyMaterial::random(bits).unwrap();
            assert_eq!(key.len(), bits.div_ceil(8));
            let last = *key.expose().last().unwrap();
            let unused = key.len() * 8 - bits;
            assert_eq!(u32::from(last) % (1 << unused), 0, "{bits} bits");
            seen_last_bits |= last;
        }
        // Every used bit of the last byte is set in some of 64 keys, save with probability 2^-61.
        assert_eq!(u32::from(seen_last_bits), 0x100 - (1 << (bits.next_multiple_of(8) - bits)));
    }
}

#[test]
fn random_keys_differ() {
    let keys: HashSet<Vec<u8>> =
        (0..1000).map(|_| KeyMaterial::random(128).unwrap().expose().to_vec()).collect();
    assert_eq!(keys.len(), 1000);
}

#[test]
fn random_lengths_outside_the_range_are_refused() {
    for bits in [0, 1, 7, 65_537, usize::MAX] {
        let error = KeyMaterial::random(bits).unwrap_err();
        assert!(matches!(error, CryptoError::InvalidLength { length, .. } if length == bits));
        assert!(error.to_string().contains("8 to 65536"), "{error}");
    }
}

#[test]
fn comparison_is_exact() {
    let material = KeyMaterial::from_vec(vec![1, 2, 3]);
    assert!(material.ct_eq(&[1, 2, 3]));
    for other in [&[1, 2, 4][..], &[1, 2], &[1, 2, 3, 0], &[]] {
        assert!(!material.ct_eq(other));
    }
    assert!(KeyMaterial::zeroed(0).ct_eq(&[]));
}

/// T-SECRET-LOGGED: what is printed by mistake says nothing.
#[test]
fn debug_output_is_constant() {
    let shown = format!("{:?}", KeyMaterial::copy_from(b"canary"));
    assert_eq!(shown, format!("{:?}", KeyMaterial::zeroed(99)));
    assert!(!shown.contains("canary") && !shown.contains("99"));
}

#[test]
fn locked_values_are_dropped_once_and_their_memory_wiped() {
    struct Counted<'counter>([u8; 48], &'counter AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = AtomicUsize::new(0);
    for round in 1..=50 {
        let locked = Locked::new(Counted([9; 48], &drops));
        assert_eq!(locked.0, [9; 48]);
        drop(locked);
        assert_eq!(drops.load(Ordering::Relaxed), round);
        assert!(KeyMaterial::zeroed(64).expose().iter().all(|byte| *byte == 0));
    }
}

/// T-MEMORY-SWAP: no page of key material goes to swap, where the limit allows it, or into a core dump.
#[cfg(target_os = "linux")]
#[test]
fn regions_are_locked_and_left_out_of_core_dumps() {
    for length in [32, 20_000] {
        let material = KeyMaterial::copy_from(&vec![1; length]);
        let address = material.expose().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut flags = None;
        for line in maps.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                let range =
                    usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap();
                inside = range.contains(&address);
            } else if inside && first == "VmFlags:" {
                flags = Some(line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>());
            }
        }
        // A sandbox whose kernel does not list flags proves nothing either way.
        let Some(flags) = flags.filter(|flags| !flags.is_empty()) else { continue };
        assert!(flags.contains(&"dd".to_owned()), "{flags:?}");
        assert_eq!(flags.contains(&"lo".to_owned()), memory_lock() == MemoryLock::Locked, "{flags:?}");
    }
}
