//! Workers that read TOASTed vectors for the leader, which gets them in the order in which it names them.
//!
//! Reading a vector from TOAST takes some 10 us: a relation opened, an index searched, two or more chunks copied. Rows are dealt out to
//! the workers in runs, one after the other, and each sends its own through a queue of the server's; so neither shared memory nor
//! the order depends on how many rows or workers there are. Must not know what the rows are for. Source of the protocol: execParallel.c
//! and tqueue.c in PostgreSQL 15.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::error::OrRaise;
use crate::pg::version;
use crate::types::elements::{ElementType, Elements};

const KEY_SHARED: u64 = 1;
const KEY_POINTERS: u64 = 2;
const KEY_QUEUES: u64 = 3;
/// Rows that one worker reads before the next one's come: few enough for a queue to hold several runs.
const RUN: usize = 16;
/// Bytes of a worker's queue.
const QUEUE_BYTES: usize = 512 << 10;
const POINTER_BYTES: usize = size_of::<pg_sys::varatt_external>() + 2;

/// A datum that says where in TOAST a vector is.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct ToastPointer([u8; POINTER_BYTES]);

/// What workers have to know.
#[repr(C)]
struct Shared {
    pointers: usize,
    workers: usize,
    elements: ElementType,
}

impl ToastPointer {
    /// The datum itself, if it is one.
    ///
    /// # Safety
    /// `datum` is a varlena.
    pub(super) unsafe fn of(datum: pg_sys::Datum) -> Option<Self> {
        let start = datum.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: as the caller's; an external datum has a tag in its second byte.
        let is_on_disk = unsafe {
            pgrx::varlena::varatt_is_1b_e(start)
                && u32::from(*start.cast::<u8>().add(1)) == pg_sys::vartag_external::VARTAG_ONDISK
        };
        // SAFETY: a datum of that kind has so many bytes, of any alignment.
        is_on_disk.then(|| unsafe { start.cast::<Self>().read_unaligned() })
    }

    /// The number of its value, which grows in the order in which values were stored until numbers begin anew.
    pub(super) fn value(self) -> u32 {
        const AT: usize = 2 + std::mem::offset_of!(pg_sys::varatt_external, va_valueid);
        let [.., a, b, c, d] = *self.0.first_chunk::<{ AT + 4 }>().expect("the value lies inside");
        u32::from_ne_bytes([a, b, c, d])
    }

    /// The elements behind it, in `decoded` where they are not single-precision numbers.
    fn read<'a>(&'a self, elements: ElementType, decoded: &'a mut Vec<f32>) -> Result<Elements<'a>> {
        // SAFETY: the bytes are a datum of the column's type, which nobody changes.
        unsafe { elements.read(pg_sys::Datum::from(self.0.as_ptr()), decoded) }
    }
}

/// Whose run the row at `at` belongs to.
fn worker_of(at: usize, workers: usize) -> usize {
    at / RUN % workers
}

/// Has workers read the vectors that `pointers` name, and passes their elements to `take`, in order; false, with none read, when no
/// worker could be had.
///
/// # Errors
/// `DataException` and what else reading reports, `Internal` when a worker ends early; what `take` reports.
///
/// # Safety
/// The pointers are those of vectors in a table that this process has locked, and a snapshot keeps them.
pub(super) unsafe fn read(
    pointers: &[ToastPointer],
    elements: ElementType,
    workers: i32,
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<bool> {
    // SAFETY: the sequence of nbtsort.c; an error ends the context with the transaction.
    unsafe {
        pg_sys::EnterParallelMode();
        let context = pg_sys::CreateParallelContext(
            c"vectorgpu".as_ptr(),
            c"vectorgpu_sample_worker".as_ptr(),
            workers,
        );
        let queues = launch(context, pointers, elements);
        let is_read = !queues.is_empty();
        if is_read {
            receive(
                pointers,
                elements,
                (*context).nworkers.unsigned_abs() as usize,
                &queues,
                take,
            )?;
            pg_sys::WaitForParallelWorkersToFinish(context);
        }
        pg_sys::DestroyParallelContext(context);
        pg_sys::ExitParallelMode();
        Ok(is_read)
    }
}

/// Starts workers, and returns the queues of those that could be started.
///
/// # Safety
/// `context` is new; the result is used only while it lives.
unsafe fn launch(
    context: *mut pg_sys::ParallelContext,
    pointers: &[ToastPointer],
    elements: ElementType,
) -> Vec<*mut pg_sys::shm_mq_handle> {
    // SAFETY: every chunk is estimated before the segment is made; workers start when all is written.
    unsafe {
        let wanted = (*context).nworkers.unsigned_abs() as usize;
        let sizes = [size_of::<Shared>(), size_of_val(pointers), wanted * QUEUE_BYTES];
        for bytes in sizes {
            (*context).estimator.space_for_chunks += bytes.next_multiple_of(pg_sys::ALIGNOF_BUFFER as usize);
            (*context).estimator.number_of_keys += 1;
        }
        pg_sys::InitializeParallelDSM(context);
        if (*context).seg.is_null() {
            return Vec::new();
        }
        let [shared, copies, memory] = sizes.map(|bytes| pg_sys::shm_toc_allocate((*context).toc, bytes));
        shared.cast::<Shared>().write(Shared {
            pointers: pointers.len(),
            workers: wanted,
            elements,
        });
        copies
            .cast::<ToastPointer>()
            .copy_from_nonoverlapping(pointers.as_ptr(), pointers.len());
        let queues: Vec<_> = (0..wanted)
            .map(|worker| {
                let queue = pg_sys::shm_mq_create(queue_memory(memory, worker), QUEUE_BYTES);
                pg_sys::shm_mq_set_receiver(queue, pg_sys::MyProc);
                queue
            })
            .collect();
        for (key, chunk) in [(KEY_SHARED, shared), (KEY_POINTERS, copies), (KEY_QUEUES, memory)] {
            pg_sys::shm_toc_insert((*context).toc, key, chunk);
        }
        pg_sys::LaunchParallelWorkers(context);
        let launched = (*context).nworkers_launched.unsigned_abs() as usize;
        pgrx::debug1!("{launched} parallel workers read the sample");
        let started = queues.into_iter().take(launched).enumerate();
        started
            .map(|(worker, queue)| {
                // With the handle, waiting ends when a worker never starts.
                let handle = (*(*context).worker.add(worker)).bgwhandle;
                pg_sys::shm_mq_attach(queue, (*context).seg, handle)
            })
            .collect()
    }
}

/// # Safety
/// `memory` holds the queues of more than `worker` workers.
unsafe fn queue_memory(memory: *mut c_void, worker: usize) -> *mut c_void {
    // SAFETY: as the caller's.
    unsafe { memory.byte_add(worker * QUEUE_BYTES) }
}

/// Takes all rows in order, and reads those of the workers, of `wanted`, that could not be started.
///
/// # Safety
/// As `read`'s caller; `queues` are those of the first workers.
unsafe fn receive(
    pointers: &[ToastPointer],
    elements: ElementType,
    wanted: usize,
    queues: &[*mut pg_sys::shm_mq_handle],
    take: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let mut decoded = Vec::new();
    for (at, pointer) in pointers.iter().enumerate() {
        let Some(queue) = queues.get(worker_of(at, wanted)) else {
            take(&pointer.read(elements, &mut decoded)?)?;
            continue;
        };
        let (mut bytes, mut data) = (0, std::ptr::null_mut());
        // SAFETY: the queue is attached; waiting processes interrupts, and so raises what the worker has raised.
        let result = unsafe { pg_sys::shm_mq_receive(*queue, &mut bytes, &mut data, false) };
        if result != pg_sys::shm_mq_result::SHM_MQ_SUCCESS {
            // The worker's error, if there is one, is a better one.
            crate::pg::interrupt::check();
            return Err(Error::new(
                ErrorKind::Internal,
                "a worker that reads the sample has ended",
            ));
        }
        // SAFETY: the message, aligned for every type, stays until the next one is asked for; its worker wrote floats.
        take(unsafe { std::slice::from_raw_parts(data.cast(), bytes / size_of::<f32>()) })?;
    }
    Ok(())
}

/// Entry point of a parallel worker; named in `read`.
#[unsafe(no_mangle)]
#[pg_guard]
pub(crate) unsafe extern "C-unwind" fn vectorgpu_sample_worker(
    segment: *mut pg_sys::dsm_segment,
    toc: *mut pg_sys::shm_toc,
) {
    // SAFETY: the server calls this in a worker of a context that `read` made.
    unsafe { send(segment, toc) }.or_raise();
}

/// Sends this worker's rows.
///
/// # Safety
/// As `vectorgpu_sample_worker`'s caller.
unsafe fn send(segment: *mut pg_sys::dsm_segment, toc: *mut pg_sys::shm_toc) -> Result<()> {
    // SAFETY: set once when the process starts.
    let worker = usize::try_from(unsafe { pg_sys::ParallelWorkerNumber })
        .map_err(|_| Error::new(ErrorKind::Internal, "not a worker"))?;
    // SAFETY: `launch` has put every key, with the lengths that `Shared` tells.
    let (shared, pointers, queue) = unsafe {
        let shared = &*pg_sys::shm_toc_lookup(toc, KEY_SHARED, false).cast::<Shared>();
        let pointers = pg_sys::shm_toc_lookup(toc, KEY_POINTERS, false).cast::<ToastPointer>();
        let pointers = std::slice::from_raw_parts(pointers, shared.pointers);
        let queue = queue_memory(pg_sys::shm_toc_lookup(toc, KEY_QUEUES, false), worker);
        (shared, pointers, queue.cast::<pg_sys::shm_mq>())
    };
    // SAFETY: the queue is this worker's; the segment is mapped as long as it runs.
    let queue = unsafe {
        pg_sys::shm_mq_set_sender(queue, pg_sys::MyProc);
        pg_sys::shm_mq_attach(queue, segment, std::ptr::null_mut())
    };
    let own = pointers.chunks(RUN).skip(worker).step_by(shared.workers);
    let mut decoded = Vec::new();
    for pointer in own.flatten() {
        let vector = pointer.read(shared.elements, &mut decoded)?;
        let bytes: &[u8] = bytemuck::cast_slice(&vector);
        // SAFETY: the queue is attached, the bytes are read during the call; waiting processes interrupts.
        let result = unsafe { version::send_message(queue, bytes) };
        if result != pg_sys::shm_mq_result::SHM_MQ_SUCCESS {
            // The leader has ended.
            break;
        }
    }
    // SAFETY: attached above, detached once: what is left in the queue can be received after that.
    unsafe { pg_sys::shm_mq_detach(queue) };
    Ok(())
}
