/* Makes each read of a block of PostgreSQL take longer: as many microseconds as the file SWITCH has bytes. See
   checks/slow_reads.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef ssize_t (*reader)(int, void *, size_t, off_t);

static ssize_t slowly(const char *name, int file, void *buffer, size_t size, off_t offset) {
    struct stat state;
    if (size == 8192 && stat(SWITCH, &state) == 0) {
        struct timespec pause = {0, state.st_size * 1000L};
        nanosleep(&pause, NULL);
    }
    return ((reader)dlsym(RTLD_NEXT, name))(file, buffer, size, offset);
}

ssize_t pread(int file, void *buffer, size_t size, off_t offset) { return slowly("pread", file, buffer, size, offset); }

ssize_t pread64(int file, void *buffer, size_t size, off_t offset) { return slowly("pread64", file, buffer, size, offset); }
