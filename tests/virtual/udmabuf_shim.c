/* Lets libcamera's virtual camera run on a kernel without /dev/udmabuf and /dev/dma_heap: both are made of plain memory
 * files instead. For tests only, loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_ours(const char *path)
{
    return path && (strcmp(path, "/dev/udmabuf") == 0 || strncmp(path, "/dev/dma_heap/", 14) == 0);
}

static int open_really(const char *name, const char *path, int flags, int mode)
{
    if (is_ours(path))
        return memfd_create("stand-in for a device", MFD_CLOEXEC);
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return open_really("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    return open_really("open64", path, flags, mode);
}

int __open64_2(const char *path, int flags)
{
    return open_really("open64", path, flags, 0);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == UDMABUF_CREATE)
        return fcntl(((struct udmabuf_create *)argument)->memfd, F_DUPFD_CLOEXEC, 0);
    if (request == DMA_BUF_IOCTL_SYNC || (unsigned)request == (unsigned)DMA_BUF_SET_NAME_A ||
        (unsigned)request == (unsigned)DMA_BUF_SET_NAME_B)
        return 0;
    if (request == DMA_HEAP_IOCTL_ALLOC) {
        struct dma_heap_allocation_data *wish = argument;
        int memory = memfd_create("stand-in for a heap", MFD_CLOEXEC);
        if (memory < 0 || ftruncate(memory, wish->len))
            return -1;
        wish->fd = memory;
        return 0;
    }
    int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
}
