//! A layer between SQLite and the files of the system: each change of a file goes through a [`Layer`] of the test.
//!
//! It is for seeing and refusing changes. It is not for changing them. Nothing here may keep anything of its own.

#![expect(unsafe_code, reason = "SQLite calls its file layer by C functions; the rest of the crate is safe")]

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use rusqlite::ffi;

/// A change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// An empty file is made.
    Create {
        /// The file.
        path: PathBuf,
    },
    /// Bytes are written.
    Write {
        /// The file.
        path: PathBuf,
        /// From here on.
        at: u64,
        /// What is written.
        bytes: Vec<u8>,
    },
    /// The file is cut, or grows by zeros.
    Truncate {
        /// The file.
        path: PathBuf,
        /// Its length from then on.
        len: u64,
    },
    /// Everything that was done to the file before is to be kept.
    Sync {
        /// The file.
        path: PathBuf,
        /// The folder is synced after that.
        folder: bool,
    },
    /// The file is removed.
    Delete {
        /// The file.
        path: PathBuf,
        /// The folder is synced after that.
        folder: bool,
    },
}

impl Op {
    /// The file.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Create { path }
            | Self::Write { path, .. }
            | Self::Truncate { path, .. }
            | Self::Sync { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }

    /// The file, to be named otherwise.
    pub fn path_mut(&mut self) -> &mut PathBuf {
        match self {
            Self::Create { path }
            | Self::Write { path, .. }
            | Self::Truncate { path, .. }
            | Self::Sync { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }
}

/// What is between SQLite and the system.
pub trait Layer: Send + Sync + 'static {
    /// Does the change by calling `go`, and returns what that returned; or returns an SQLite code, and does nothing.
    ///
    /// It may be called by several threads at once.
    fn change(&self, op: Op, go: &mut dyn FnMut() -> c_int) -> c_int;
}

struct Shared {
    layer: Arc<dyn Layer>,
    system: *mut ffi::sqlite3_vfs,
}

/// What SQLite takes for its open file; the system's own one lies behind it.
#[repr(C)]
struct Open {
    base: ffi::sqlite3_file,
    shared: *const Shared,
    /// `None` for a file that has no name, and outlives nothing.
    path: Option<PathBuf>,
    /// The next sync is one of the folder as well: so os_unix.c does it for a journal or log that it made.
    folder: bool,
}

/// Makes `name` a file layer of this process, over the system's, for as long as the process lives.
///
/// # Panics
///
/// Panics if SQLite cannot take it.
pub fn register(name: &str, layer: Arc<dyn Layer>) {
    let name = CString::new(name).expect("a name without NUL").into_raw();
    // SAFETY: a null name asks for the default layer, which lives as long as the process.
    let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    assert!(!system.is_null(), "SQLite has no file layer");
    let shared = Box::into_raw(Box::new(Shared { layer, system }));
    // SAFETY: `system` was found above. What is copied are functions that do not look at their first argument (those of
    // os_unix.c), but for those that are replaced here.
    let mut vfs = unsafe { *system };
    vfs.iVersion = 1;
    vfs.szOsFile += c_int::try_from(size_of::<Open>()).expect("a small size");
    vfs.pNext = ptr::null_mut();
    vfs.zName = name;
    vfs.pAppData = shared.cast();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    // SAFETY: the layer and all that it names are never freed, and nothing but SQLite changes it from here on.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite refuses the file layer");
}

/// The path that SQLite names.
///
/// # Safety
///
/// `name` is a C string.
unsafe fn path(name: *const c_char) -> PathBuf {
    // SAFETY: as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}

/// The system's file behind ours.
///
/// # Safety
///
/// `file` points to what SQLite allocated for this layer: an [`Open`], and the system's file behind that.
unsafe fn behind(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: the allocation has `szOsFile` bytes, which is both sizes together; the size of `Open` keeps the alignment.
    unsafe { file.cast::<Open>().add(1).cast() }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over the layer that was registered, so `pAppData` is its `Shared`; `name` is null or a C string;
    // `file` has room for an `Open` and the system's file, uninitialized, and is closed if `pMethods` is set in the end.
    unsafe {
        let shared: *const Shared = (*vfs).pAppData.cast();
        let path = (!name.is_null()).then(|| path(name));
        let made = flags & ffi::SQLITE_OPEN_CREATE != 0 && path.as_ref().is_some_and(|path| !path.exists());
        let base = ffi::sqlite3_file { pMethods: ptr::null() };
        let inner = behind(file);
        (*inner).pMethods = ptr::null();
        let mut go = || {
            let system = (*shared).system;
            (*system).xOpen.expect("a file layer opens")(system, name, inner, flags, out)
        };
        let code = match &path {
            Some(path) if made => (*shared).layer.change(Op::Create { path: path.clone() }, &mut go),
            _ => go(),
        };
        let journals = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
        let mut opened = Open { base, shared, path, folder: made && flags & journals != 0 };
        if !(*inner).pMethods.is_null() {
            opened.base.pMethods = &raw const METHODS;
        } else {
            // SQLite closes no file without methods: the path would be left.
            opened.path = None;
        }
        ptr::write(file.cast::<Open>(), opened);
        code
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite hands over the layer that was registered, and a C string.
    unsafe {
        let shared: *const Shared = (*vfs).pAppData.cast();
        let mut go = || {
            let system = (*shared).system;
            (*system).xDelete.expect("a file layer deletes")(system, name, sync)
        };
        (*shared).layer.change(Op::Delete { path: path(name), folder: sync != 0 }, &mut go)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file was opened by `open`, and SQLite calls nothing on it after this.
    unsafe {
        let inner = behind(file);
        let code = (*(*inner).pMethods).xClose.expect("a file is closed")(inner);
        ptr::drop_in_place(file.cast::<Open>());
        code
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file was opened by `open`, and `bytes` has `len` bytes.
    unsafe {
        let inner = behind(file);
        let mut go = || (*(*inner).pMethods).xWrite.expect("a file is written")(inner, bytes, len, at);
        let what = std::slice::from_raw_parts(bytes.cast::<u8>(), len.unsigned_abs() as usize);
        through(file, |path| Op::Write { path, at: at.unsigned_abs(), bytes: what.to_vec() }, &mut go)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file was opened by `open`.
    unsafe {
        let inner = behind(file);
        let mut go = || (*(*inner).pMethods).xTruncate.expect("a file is cut")(inner, len);
        through(file, |path| Op::Truncate { path, len: len.unsigned_abs() }, &mut go)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file was opened by `open`.
    unsafe {
        let inner = behind(file);
        let mut go = || (*(*inner).pMethods).xSync.expect("a file is synced")(inner, flags);
        let folder = (*file.cast::<Open>()).folder;
        let code = through(file, |path| Op::Sync { path, folder }, &mut go);
        (*file.cast::<Open>()).folder &= code != ffi::SQLITE_OK;
        code
    }
}

/// Lets the layer do a change of a file that has a name.
///
/// # Safety
///
/// `file` was opened by [`open`].
unsafe fn through(
    file: *mut ffi::sqlite3_file,
    op: impl FnOnce(PathBuf) -> Op,
    go: &mut dyn FnMut() -> c_int,
) -> c_int {
    // SAFETY: as the caller promises; `shared` is never freed.
    let (open, shared) = unsafe {
        let open = &*file.cast::<Open>();
        (open, &*open.shared)
    };
    match &open.path {
        Some(path) => shared.layer.change(op(path.clone()), go),
        None => go(),
    }
}

/// Functions that hand the call on to the system's file.
macro_rules! handed_on {
    ($($name:ident $method:ident ($($arg:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $type)*) $(-> $answer)? {
            // SAFETY: the file was opened by `open`; the arguments are SQLite's, handed on as they are.
            unsafe {
                let inner = behind(file);
                (*(*inner).pMethods).$method.expect("a file of the system has it")(inner $(, $arg)*)
            }
        }
    )*};
}

handed_on! {
    read xRead(to: *mut c_void, len: c_int, at: ffi::sqlite3_int64) -> c_int;
    file_size xFileSize(to: *mut ffi::sqlite3_int64) -> c_int;
    lock xLock(level: c_int) -> c_int;
    unlock xUnlock(level: c_int) -> c_int;
    reserved xCheckReservedLock(to: *mut c_int) -> c_int;
    control xFileControl(what: c_int, with: *mut c_void) -> c_int;
    sector_size xSectorSize() -> c_int;
    characteristics xDeviceCharacteristics() -> c_int;
    shm_map xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void) -> c_int;
    shm_lock xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int;
    shm_barrier xShmBarrier();
    shm_unmap xShmUnmap(delete: c_int) -> c_int;
}

/// Without `xFetch`, so that no page is written but by `xWrite`.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
