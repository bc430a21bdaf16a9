/* For callers: the objects of a bundle that lies checked in flash. */
#include "cvm_internal.h"

int cvm_objects(const struct cvm_port *port, void *user, const uint8_t *record, uint8_t *scratch, size_t scratch_size,
                cvm_sink sink)
{
    struct cvm_record is;
    uint32_t at = 0, total;
    uint8_t head[CVM_OBJECT_HEAD];

    memcpy(&is, record, sizeof is);
    total = is.total;
    while (total - at > sizeof head) {
        uint16_t size, done = 0;

        if (port->load(user, (uint16_t)at, head, sizeof head) != 0) {
            return -1;
        }
        at += (uint32_t)sizeof head;
        size = (uint16_t)cvm_get16(head + 1);
        while (done < size) {
            const size_t left = (size_t)(size - done), part = left < scratch_size ? left : scratch_size;
            int result;

            if (part > total - at || port->load(user, (uint16_t)at, scratch, part) != 0) {
                return -1;
            }
            result = sink(user, head[0], done, scratch, part, part == left);
            if (result != 0) {
                return result;
            }
            at += (uint32_t)part;
            done = (uint16_t)(done + part);
        }
    }
    return 0;
}
