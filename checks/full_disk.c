/* Makes PostgreSQL's disk full: while the file SWITCH exists, no file can grow. See checks/full_disk.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int file, off_t end) {
    struct stat state;
    return access(SWITCH, F_OK) == 0 && fstat(file, &state) == 0 && S_ISREG(state.st_mode) && end > state.st_size;
}

static off_t length(const struct iovec *parts, int count) {
    off_t sum = 0;
    for (int place = 0; place < count; place++) sum += parts[place].iov_len;
    return sum;
}

#define WRITE(name) \
    ssize_t name(int file, const void *bytes, size_t size, off_t offset) { \
        if (is_full(file, offset + (off_t)size)) { errno = ENOSPC; return -1; } \
        return ((ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, #name))(file, bytes, size, offset); \
    }

#define WRITE_PARTS(name) \
    ssize_t name(int file, const struct iovec *parts, int count, off_t offset) { \
        if (is_full(file, offset + length(parts, count))) { errno = ENOSPC; return -1; } \
        return ((ssize_t (*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, #name))(file, parts, count, offset); \
    }

#define ALLOCATE(name) \
    int name(int file, off_t offset, off_t size) { \
        if (is_full(file, offset + size)) return ENOSPC; \
        return ((int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, #name))(file, offset, size); \
    }

WRITE(pwrite)
WRITE(pwrite64)
WRITE_PARTS(pwritev)
WRITE_PARTS(pwritev64)
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)
