/* The platform of a POSIX machine: a TCP connection for the line, a directory for the flash. */
#ifndef POSIX_PORT_H
#define POSIX_PORT_H

#include "cvm.h"

struct posix_port {
    int line;        /* socket, -1: none */
    int directory;   /* the flash: its files `bundle` and `record` */
    int bundle;      /* the open file */
    long bytes_up;   /* of all connections */
    long bytes_down;
    long cut_after;  /* the process ends at once, like a device whose power fails, after so many bytes; 0: never */
};

extern const struct cvm_port posix_port; /* its `user` is a struct posix_port */

enum { POSIX_PORT_CUT = 5 }; /* exit code of cut_after */

/* Opens, or makes, the directory; reads the record into `record` (zeros: there is none). Returns 0, or -1 with errno. */
int posix_port_open(struct posix_port *port, const char *directory, uint8_t record[CVM_RECORD_SIZE]);

/* Connects within 30 s. Returns null, or why not. */
const char *posix_port_connect(struct posix_port *port, const char *host, const char *service);
void posix_port_disconnect(struct posix_port *port);

/* Until bytes have come, or a second is over. */
void posix_port_wait(struct posix_port *port);

/* Puts a file of the directory in its place at once, mode 0600. Returns 0, or -1 with errno. */
int posix_port_write(struct posix_port *port, const char *name, const void *bytes, size_t size);

#endif
