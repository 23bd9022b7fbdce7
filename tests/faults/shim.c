/* Between a process and its disk: counts, fails, cuts short, kills at, and records what it changes below a folder.

   Preloaded (LD_PRELOAD), so that it stands below Python and below SQLite. Nothing happens before `faults_watch`. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, SYNC = 4, TRUNCATE = 8, RENAME = 16, REMOVE = 32, MAKE = 64, MARK = 128 };
enum { NOTHING, FAIL, SHORT, KILL };

static char root[PATH_MAX];
static size_t root_length;
static unsigned char watched[65536];
static int record_to = -1;

static int mask, action, error_number, sticky;
static long countdown, counted;

struct entry { /* followed by `n_name` bytes of path, `n_other` of a second one or of data */
    uint64_t op, inode, offset, n_name, n_other;
};

/* Begin: what lies below `folder` counts; descriptors that are open already don't. */
void faults_watch(const char *folder) {
    root_length = strlen(folder);
    memcpy(root, folder, root_length + 1);
    memset(watched, 0, sizeof watched);
    counted = 0;
    mask = action = NOTHING;
}

/* At the `after`th operation of the kinds in `ops` (from 1): fail with `number`, write half of it, or die. */
void faults_arm(int ops, long after, int what, int number, int for_ever) {
    mask = ops, countdown = after, action = what, error_number = number, sticky = for_ever;
}

void faults_record(int descriptor) { record_to = descriptor; }
/* How many operations of those kinds there were. */
long faults_count(void) { return counted; }

static void put(const void *data, size_t n) {
    const char *at = data;
    while (n) {
        long done = syscall(SYS_write, record_to, at, n);
        if (done <= 0) abort();
        at += done, n -= done;
    }
}

static void note(int op, uint64_t inode, uint64_t offset, const char *name, const void *other, size_t n_other) {
    if (record_to < 0) return;
    struct entry head = {op, inode, offset, name ? strlen(name) : 0, n_other};
    int before = errno;
    put(&head, sizeof head);
    if (name) put(name, head.n_name);
    if (n_other) put(other, n_other);
    errno = before;
}

/* A note in the record by the process itself: a commit was acknowledged. */
void faults_mark(uint64_t number) { note(MARK, 0, number, NULL, NULL, 0); }

static int below(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Whether the operation is to fail: NOTHING, FAIL or SHORT. */
static int due(int op) {
    if (!(mask & op)) return NOTHING;
    counted += 1;
    if (action == NOTHING) return NOTHING;
    if (countdown > 1) {
        countdown -= 1;
        return NOTHING;
    }
    int now = action;
    if (now == KILL) kill(getpid(), SIGKILL);
    if (now == SHORT) action = sticky ? FAIL : NOTHING;
    else if (!sticky) action = NOTHING;
    errno = error_number;
    return now;
}

static uint64_t inode_of(int descriptor) {
    struct stat facts;
    return fstat(descriptor, &facts) ? 0 : facts.st_ino;
}

static const char *full(int folder, const char *path, char *buffer) {
    char link[64];
    if (path[0] == '/') return path;
    ssize_t n = 0;
    if (folder == AT_FDCWD) {
        if (!getcwd(buffer, PATH_MAX)) return path;
        n = strlen(buffer);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        n = readlink(link, buffer, PATH_MAX - 1);
        if (n < 0) return path;
    }
    snprintf(buffer + n, PATH_MAX - n, "/%s", path);
    return buffer;
}


static int opened(int folder, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = full(folder, path, buffer);
    int ours = below(name), creates = ours && (flags & O_CREAT) && faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW);
    int before = errno;
    if (creates && due(CREATE)) return -1;
    errno = before;
    if (ours && !creates && (flags & O_TRUNC) && due(TRUNCATE)) return -1;
    int descriptor = syscall(SYS_openat, folder, path, flags, mode);
    if (descriptor >= 0 && descriptor < (int)sizeof watched) watched[descriptor] = ours;
    if (descriptor >= 0 && creates) note(CREATE, inode_of(descriptor), 0, name, NULL, 0);
    else if (descriptor >= 0 && ours && (flags & O_TRUNC)) note(TRUNCATE, inode_of(descriptor), 0, NULL, NULL, 0);
    return descriptor;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, int); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }

static int ours(int descriptor) {
    return descriptor >= 0 && descriptor < (int)sizeof watched && watched[descriptor];
}

int close(int descriptor) {
    if (ours(descriptor)) watched[descriptor] = 0;
    return syscall(SYS_close, descriptor);
}

static ssize_t written(int descriptor, const void *data, size_t n, off_t offset, int at) {
    if (ours(descriptor)) {
        int what = due(WRITE);
        if (what == FAIL) return -1;
        if (what == SHORT) n = n / 2;
        if (what == SHORT && !n) return -1;
    }
    off_t begin = at ? offset : lseek(descriptor, 0, SEEK_CUR);
    ssize_t done = at ? syscall(SYS_pwrite64, descriptor, data, n, offset) : syscall(SYS_write, descriptor, data, n);
    if (done > 0 && ours(descriptor)) note(WRITE, inode_of(descriptor), begin, NULL, data, done);
    return done;
}

ssize_t write(int descriptor, const void *data, size_t n) { return written(descriptor, data, n, 0, 0); }
ssize_t pwrite(int descriptor, const void *data, size_t n, off_t offset) {
    return written(descriptor, data, n, offset, 1);
}
ssize_t pwrite64(int descriptor, const void *data, size_t n, off64_t offset) {
    return written(descriptor, data, n, offset, 1);
}

static int synced(int descriptor, int number) {
    if (ours(descriptor) && due(SYNC)) return -1;
    if (record_to >= 0 && ours(descriptor)) { /* recorded, and spared: the record is what counts */
        note(SYNC, inode_of(descriptor), 0, NULL, NULL, 0);
        return 0;
    }
    return syscall(number, descriptor);
}

int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }

static int truncated(int descriptor, off_t length) {
    if (ours(descriptor) && due(TRUNCATE)) return -1;
    int result = syscall(SYS_ftruncate, descriptor, length);
    if (!result && ours(descriptor)) note(TRUNCATE, inode_of(descriptor), length, NULL, NULL, 0);
    return result;
}

int ftruncate(int descriptor, off_t length) { return truncated(descriptor, length); }
int ftruncate64(int descriptor, off64_t length) { return truncated(descriptor, length); }

int rename(const char *from, const char *to) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *name = full(AT_FDCWD, from, first), *other = full(AT_FDCWD, to, second);
    int counts = below(name) || below(other);
    if (counts && due(RENAME)) return -1;
    int result = syscall(SYS_rename, from, to);
    if (!result && counts) note(RENAME, 0, 0, name, other, strlen(other));
    return result;
}

int link(const char *from, const char *to) {
    char first[PATH_MAX];
    const char *name = full(AT_FDCWD, to, first);
    if (below(name) && due(CREATE)) return -1;
    return syscall(SYS_link, from, to);
}

int mkdir(const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = full(AT_FDCWD, path, buffer);
    if (below(name) && due(MAKE)) return -1;
    int result = syscall(SYS_mkdir, path, mode);
    struct stat facts;
    if (!result && below(name) && !stat(path, &facts)) note(MAKE, facts.st_ino, 0, name, NULL, 0);
    return result;
}

static int removed(int folder, const char *path, int flags) {
    char buffer[PATH_MAX];
    const char *name = full(folder, path, buffer);
    if (below(name) && due(REMOVE)) return -1;
    int result = syscall(SYS_unlinkat, folder, path, flags);
    if (!result && below(name)) note(REMOVE, 0, 0, name, NULL, 0);
    return result;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
