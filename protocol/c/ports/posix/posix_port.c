#define _POSIX_C_SOURCE 200809L

#include "posix_port.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_TIMEOUT_MS = 30000 };

static void count(struct posix_port *port, long *counter, long bytes)
{
    *counter += bytes;
    if (port->cut_after != 0 && port->bytes_up + port->bytes_down >= port->cut_after) {
        _exit(POSIX_PORT_CUT);
    }
}

/* As many of `size` bytes as may pass before the cut. */
static size_t before_cut(const struct posix_port *port, size_t size)
{
    const long left = port->cut_after - port->bytes_up - port->bytes_down;

    return port->cut_after == 0 || (long)size < left ? size : (size_t)left;
}

/* What send and recv returned: bytes, 0 for none yet, -1: the line is gone. */
static int moved(struct posix_port *port, long *counter, ssize_t bytes)
{
    if (bytes < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    }
    count(port, counter, (long)bytes);
    return (int)bytes;
}

static int on_send(void *user, const uint8_t *bytes, size_t size)
{
    struct posix_port *port = (struct posix_port *)user;

    return moved(port, &port->bytes_up, send(port->line, bytes, before_cut(port, size), MSG_NOSIGNAL));
}

static int on_receive(void *user, uint8_t *bytes, size_t size)
{
    struct posix_port *port = (struct posix_port *)user;
    const ssize_t got = recv(port->line, bytes, before_cut(port, size), 0);

    return got == 0 ? -1 : moved(port, &port->bytes_down, got);
}

static uint32_t on_now_ms(void *user)
{
    struct timespec now;

    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

static int on_random(void *user, uint8_t *bytes, size_t size)
{
    const int source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t got;

    (void)user;
    if (source < 0) {
        return -1;
    }
    got = read(source, bytes, size);
    close(source);
    return got == (ssize_t)size ? 0 : -1;
}

static int on_store(void *user, uint16_t offset, const uint8_t *bytes, size_t size)
{
    return pwrite(((struct posix_port *)user)->bundle, bytes, size, offset) == (ssize_t)size ? 0 : -1;
}

static int on_load(void *user, uint16_t offset, uint8_t *bytes, size_t size)
{
    return pread(((struct posix_port *)user)->bundle, bytes, size, offset) == (ssize_t)size ? 0 : -1;
}

static int on_remember(void *user, const uint8_t record[CVM_RECORD_SIZE])
{
    struct posix_port *port = (struct posix_port *)user;

    return fsync(port->bundle) == 0 ? posix_port_write(port, "record", record, CVM_RECORD_SIZE) : -1;
}

const struct cvm_port posix_port = {
    on_send, on_receive, on_now_ms, on_random, on_store, on_load, on_remember, NULL,
};

int posix_port_open(struct posix_port *port, const char *directory, uint8_t record[CVM_RECORD_SIZE])
{
    int file;

    memset(port, 0, sizeof *port);
    memset(record, 0, CVM_RECORD_SIZE);
    port->line = -1;
    if (mkdir(directory, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    port->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (port->directory < 0) {
        return -1;
    }
    port->bundle = openat(port->directory, "bundle", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (port->bundle < 0) {
        return -1;
    }
    file = openat(port->directory, "record", O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    if (read(file, record, CVM_RECORD_SIZE) != (ssize_t)CVM_RECORD_SIZE) {
        memset(record, 0, CVM_RECORD_SIZE);
    }
    return close(file);
}

int posix_port_write(struct posix_port *port, const char *name, const void *bytes, size_t size)
{
    const int file = openat(port->directory, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written;

    if (file < 0) {
        return -1;
    }
    written = write(file, bytes, size) == (ssize_t)size && fsync(file) == 0;
    if (close(file) != 0 || !written || renameat(port->directory, "new", port->directory, name) != 0) {
        return -1;
    }
    return fsync(port->directory);
}

/* Whether the connection that has begun stands in time. */
static bool stands(int line)
{
    struct pollfd ready = {line, POLLOUT, 0};
    int error = 0;
    socklen_t size = sizeof error;

    return poll(&ready, 1, CONNECT_TIMEOUT_MS) == 1 && getsockopt(line, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
           error == 0;
}

const char *posix_port_connect(struct posix_port *port, const char *host, const char *service)
{
    struct addrinfo hints, *found = NULL, *each;
    const int on = 1;
    int error;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    error = getaddrinfo(host, service, &hints, &found);
    if (error != 0) {
        return gai_strerror(error);
    }
    for (each = found; each != NULL && port->line < 0; each = each->ai_next) {
        port->line = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (port->line < 0) {
            continue;
        }
        if (fcntl(port->line, F_SETFL, O_NONBLOCK) != 0 ||
            (connect(port->line, each->ai_addr, each->ai_addrlen) != 0 && errno != EINPROGRESS) ||
            !stands(port->line)) {
            posix_port_disconnect(port);
        }
    }
    freeaddrinfo(found);
    if (port->line < 0) {
        return "no connection";
    }
    setsockopt(port->line, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a frame may leave in two writes */
    return NULL;
}

void posix_port_disconnect(struct posix_port *port)
{
    if (port->line >= 0) {
        close(port->line);
        port->line = -1;
    }
}

void posix_port_wait(struct posix_port *port)
{
    struct pollfd ready = {port->line, POLLIN, 0};

    poll(&ready, 1, 1000);
}
