/* Sets PostgreSQL's clock back by as many seconds as the file SWITCH has bytes. See checks/preloads.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/time.h>

typedef int (*clock_of_the_wall)(struct timeval *, void *);

int gettimeofday(struct timeval *now, void *zone) {
    struct stat state;
    int status = ((clock_of_the_wall)dlsym(RTLD_NEXT, "gettimeofday"))(now, zone);
    if (status == 0 && stat(SWITCH, &state) == 0) now->tv_sec -= state.st_size;
    return status;
}
