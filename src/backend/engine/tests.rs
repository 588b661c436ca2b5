//! The engine on the emulated device.

use super::*;
use crate::backend::buffer::{Buffer, DType};

fn put(e: Engine, v: &[f32]) -> DeviceBuffer {
    DeviceBuffer::upload(e, &Buffer::from_slice(v)).unwrap()
}

fn f32s(b: &DeviceBuffer) -> Vec<f32> {
    b.download().values::<f32>().to_vec()
}

/// `a + b` in other memory.
fn add(a: &DeviceBuffer, b: &DeviceBuffer) -> crate::error::Result<DeviceBuffer> {
    let y = DeviceBuffer::scratch(a.engine(), DType::F32, a.len())?;
    let args = [a.arg(), b.arg(), y.arg_out()];
    (a.engine()).over(crate::backend::driver::ADD_F32, a.len(), &args)?;
    Ok(y)
}

#[test]
fn sums_and_casts() {
    let e = Engine::emulated(2);
    let (a, b) = (
        put(e, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        put(e, &[10.0, 20.0]),
    );
    let part = Slab {
        to: 1,
        ..Slab::whole(&b, 1)
    };
    let sum = e.sum([2, 3, 1], &[Slab::whole(&a, 3), part]).unwrap();
    assert_eq!(f32s(&sum), [1.0, 12.0, 3.0, 4.0, 25.0, 6.0]);
    assert_eq!(
        f32s(&e.sum([2, 3, 1], &[part]).unwrap())[3..],
        [0.0, 20.0, 0.0]
    );
    let half = e.cast(&sum, DType::Bf16).unwrap();
    assert_eq!(f32s(&e.cast(&half, DType::F32).unwrap())[4], 25.0);
    assert_eq!(f32s(&a.duplicate().unwrap()), f32s(&a));
    assert_eq!(e.counts().launches, 4);
}

#[test]
fn memory_is_used_again_and_holds_nothing_old() {
    let e = Engine::emulated(1);
    let a = put(e, &[1.0; 100]);
    let live = e.counts().live;
    drop(a);
    let b = DeviceBuffer::scratch(e, DType::F32, 99).unwrap();
    assert_eq!((e.counts().live, e.counts().peak), (live, live));
    let zeros = DeviceBuffer::zeros(e, DType::F32, 99).unwrap();
    let fault = add(&zeros, &b).err().unwrap().to_string();
    assert!(fault.contains("which nobody wrote"), "{fault}");
}

#[test]
fn after_a_fault_nothing_is_done() {
    let e = Engine::emulated(1);
    let (x, y) = (
        put(e, &[1.0]),
        DeviceBuffer::zeros(e, DType::F32, 1).unwrap(),
    );
    let first = e.over(crate::backend::driver::RELU_F32, 2, &[x.arg(), y.arg_out()]);
    let first = first.unwrap_err().to_string();
    assert!(
        first.contains("relu_f32") && first.contains("outside"),
        "{first}"
    );
    let again = e.over(crate::backend::driver::RELU_F32, 1, &[x.arg(), y.arg_out()]);
    assert_eq!(again.unwrap_err().to_string(), first);
    assert!(f32s(&y)[0].is_nan());
    assert!(e.healthy().is_err());
}

#[test]
fn memory_that_runs_out_names_its_holders() {
    let device = Emulated::new(Limits::SM_80, 1).with_memory(1 << 20);
    let e = Engine::new(Box::new(device), false);
    let big = || DeviceBuffer::scratch(e, DType::F32, 100_000);
    let _a = labelled("conv2d", big).unwrap();
    let kept = labelled("relu", big).unwrap();
    let text = labelled("add", big).unwrap_err();
    let all = format!("{text} {:?}", text.notes());
    assert!(all.contains("conv2d: ") && all.contains("relu: "), "{all}");
    // What was given back is found again, also when it lies in another size class.
    drop(kept);
    assert!(DeviceBuffer::scratch(e, DType::F32, 110_000).is_ok());
    assert!(e.healthy().is_ok());
}

/// `relu(x) + x`, and the same of that, with a buffer that is gone when the next one comes. `spoil`: 1 reads past the end, 2 what is gone.
fn chain(x: &DeviceBuffer, spoil: u32) -> crate::error::Result<[DeviceBuffer; 2]> {
    use crate::backend::driver::RELU_F32;
    let (e, n) = (x.engine(), x.len());
    let y = DeviceBuffer::scratch(e, DType::F32, n)?;
    e.over(
        RELU_F32,
        n + usize::from(spoil == 1),
        &[x.arg(), y.arg_out()],
    )?;
    let (sum, gone) = {
        let copy = x.duplicate()?;
        (add(&y, &copy)?, copy.arg())
    };
    let next = DeviceBuffer::scratch(e, DType::F32, n)?;
    if spoil == 2 {
        e.over(RELU_F32, n, &[gone, y.arg_out()])?;
    }
    e.over(RELU_F32, n, &[sum.arg(), next.arg_out()])?;
    let next = add(&next, &sum)?;
    Ok([sum, next])
}

fn graphs(e: Engine) {
    let inputs = [[1.0, -2.0, 3.0], [-4.0, 5.0, 0.5], [7.0, 8.0, -9.0]];
    let x = DeviceBuffer::lasting(e, DType::F32, 3).unwrap();
    let set = |v: [f32; 3]| x.write(Buffer::from_slice(&v).bytes()).unwrap();
    set(inputs[0]);
    let (launched, rehearsal) = e.rehearse(|| chain(&x, 0)).unwrap();
    assert_eq!(f32s(&launched[0]), [2.0, -2.0, 6.0]);
    let rehearsal = rehearsal.unwrap();
    let before = e.counts();
    let recorded = e.record(&rehearsal, || chain(&x, 0)).unwrap();
    assert_eq!(e.counts().launches, before.launches);
    assert_eq!(recorded.launches(), 4);
    for v in inputs {
        set(v);
        e.replay(&recorded).unwrap();
        let want = v.map(|v| v.max(0.0) + v);
        let [y, next] = &recorded.result;
        assert_eq!(f32s(y), want);
        let fetching = next.fetch().unwrap();
        // The copy is under way: what comes after it does not change it.
        set([0.0; 3]);
        assert_eq!(
            fetching.wait().unwrap().values::<f32>(),
            want.map(|v| v.max(0.0) + v)
        );
    }
    assert_eq!(e.counts().launches - before.launches, 12);
}

#[test]
fn a_sequence_is_replayed_with_other_values() {
    graphs(Engine::emulated(2));
}

#[test]
fn what_cannot_be_recorded_says_why_and_leaves_the_device_whole() {
    let e = Engine::emulated(1);
    let x = put(e, &[1.0, -2.0, 3.0]);
    let why = |f: &dyn Fn() -> crate::error::Result<()>| e.rehearse(f).unwrap().1.unwrap_err();
    let reads = why(&|| {
        drop(x.download());
        Ok(())
    });
    assert!(reads.contains("reads values back"), "{reads}");
    let same = Buffer::from_slice(&[1.0f32, -2.0, 3.0]);
    let uploads = why(&|| x.write(same.bytes()));
    assert!(uploads.contains("uploads values"), "{uploads}");
    let by_host = why(&|| {
        e.note_fallback("sort");
        Ok(())
    });
    assert!(by_host.contains("`sort` has no kernels"), "{by_host}");
    let ready = e.rehearse(|| chain(&x, 0)).unwrap().1.unwrap();
    let fails = |f: &dyn Fn() -> crate::error::Result<()>| {
        let failed = e.record(&ready, f).err().expect("it cannot be recorded");
        failed.to_string()
    };
    let fewer = fails(&|| Ok(()));
    assert!(fewer.contains("not what was rehearsed"), "{fewer}");
    let other = fails(&|| DeviceBuffer::scratch(e, DType::F32, 7).map(drop));
    assert!(other.contains("other memory"), "{other}");
    let reads = fails(&|| {
        drop(x.download());
        Ok(())
    });
    assert!(reads.contains("reads values back"), "{reads}");
    let uploads = fails(&|| x.write(same.bytes()));
    assert!(uploads.contains("uploads values"), "{uploads}");
    assert!(e.healthy().is_ok());
    let recorded = e.record(&ready, || chain(&x, 0)).unwrap();
    e.replay(&recorded).unwrap();
    assert_eq!(f32s(&recorded.result[0]), [2.0, -2.0, 6.0]);
}

#[test]
fn the_emulated_device_sees_faults_of_what_is_replayed() {
    for (spoil, text) in [(1, "outside"), (2, "gone")] {
        let e = Engine::emulated(1);
        let x = put(e, &[1.0, -2.0, 3.0]);
        let ready = e.rehearse(|| chain(&x, 0)).unwrap().1.unwrap();
        let recorded = e.record(&ready, || chain(&x, spoil)).unwrap();
        assert!(e.healthy().is_ok());
        let told = e.replay(&recorded).unwrap_err().to_string();
        let seen = told.contains("outside") || told.contains("which nobody wrote");
        assert!(seen && told.contains("relu_f32"), "{text}: {told}");
    }
}

#[test]
fn a_larger_arena_takes_the_place_of_a_smaller_one() {
    let e = Engine::emulated(1);
    let (x, large) = (put(e, &[1.0, -2.0, 3.0]), put(e, &[1.0; 5000]));
    let ready = |x: &DeviceBuffer| e.rehearse(|| chain(x, 0)).unwrap().1.unwrap();
    let (one, two) = (ready(&x), ready(&large));
    let first = e.record(&one, || chain(&x, 0)).unwrap();
    let live = e.counts().live;
    assert!(first.is_current() && e.has_arena(one.bytes()) && !e.has_arena(two.bytes()));
    let second = e.record(&two, || chain(&large, 0)).unwrap();
    assert!(second.is_current() && !first.is_current());
    // The old one still works, until it is given up with its memory.
    e.replay(&first).unwrap();
    assert_eq!(f32s(&first.result[0]), [2.0, -2.0, 6.0]);
    drop(first);
    let grown = (two.bytes() - one.bytes()) as u64;
    assert_eq!(e.counts().live - live, grown);
    let again = e.record(&one, || chain(&x, 0)).unwrap();
    assert!(again.is_current() && second.is_current());
    e.replay(&again).unwrap();
    assert_eq!(f32s(&again.result[0]), [2.0, -2.0, 6.0]);
    drop((second, again));
    e.release_arena();
    assert_eq!(e.counts().live + one.bytes() as u64, live);
}

#[test]
fn a_recording_counts_when_it_is_replayed() {
    let (record, counted) = crate::backend::record::Record::new(1 << 20);
    let e = Engine::new(Box::new(record), false);
    let x = put(e, &[1.0, -2.0, 3.0]);
    counted.reset();
    let ready = e.rehearse(|| chain(&x, 0)).unwrap().1.unwrap();
    let launched = counted.work();
    counted.reset();
    let recorded = e.record(&ready, || chain(&x, 0)).unwrap();
    assert!(counted.work().is_empty());
    e.replay(&recorded).unwrap();
    assert_eq!(counted.work(), launched);
}
