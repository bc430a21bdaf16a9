/* Written by tools/generate out of protocol/constants.py: change that, and run python -m tools.generate. */
#ifndef CVM_CONSTANTS_H
#define CVM_CONSTANTS_H

#define CVM_MAGIC "CVM"

/* Limits and sizes: bytes, seconds. */
#define CVM_VERSION 1u
#define CVM_DEFAULT_PORT 7433u
#define CVM_DEFAULT_TLS_PORT 7434u
#define CVM_HEADER_SIZE 3u
#define CVM_NONCE_SIZE 16u
#define CVM_DIGEST_SIZE 32u
#define CVM_BUNDLE_ID_SIZE 16u
#define CVM_TAG_SIZE 16u
#define CVM_EPHEMERAL_SIZE 32u
#define CVM_MIN_TOKEN 16u
#define CVM_MAX_TOKEN 64u
#define CVM_MAX_SERIAL 64u
#define CVM_MAX_CSR 2048u
#define CVM_MAX_BUNDLE 65535u
#define CVM_TO_THE_END 65535u
#define CVM_DEFAULT_MAX_FRAME 512u
#define CVM_MAX_MAX_FRAME 1400u
#define CVM_HELLO_NONCE_END 20u
#define CVM_MAX_HELLOS 16u
#define CVM_MAX_SKIPPED_BY_SERVER 256u
#define CVM_MAX_SKIPPED_BY_DEVICE 65536u
#define CVM_HANDSHAKE_DEADLINE_S 30u
#define CVM_HELLO_DEADLINE_S 10u
#define CVM_PROOF_DEADLINE_S 30u
#define CVM_SESSION_DEADLINE_S 600u
#define CVM_PROGRESS_DEADLINE_S 30u
#define CVM_ANSWER_DEADLINE_S 15u
#define CVM_MAX_TURN_S 300u
#define CVM_MAX_CLEAR_RETRY_S 3600u
#define CVM_MAX_TAGGED_RETRY_S 86400u

/* Types of frames. */
#define CVM_TYPE_HELLO 1u
#define CVM_TYPE_CHALLENGE 65u
#define CVM_TYPE_CLEAR_REFUSE 66u
#define CVM_TYPE_PROOF 129u
#define CVM_TYPE_FETCH 130u
#define CVM_TYPE_ACK 131u
#define CVM_TYPE_WAIT 193u
#define CVM_TYPE_REFUSE 194u
#define CVM_TYPE_MANIFEST 195u
#define CVM_TYPE_DATA 196u
#define CVM_TYPE_DONE 197u

/* Suites. */
#define CVM_SUITE_MAC 0u
#define CVM_SUITE_NOISE 1u

/* Kinds of objects; bit n of `want` asks for kind n. */
#define CVM_KIND_CERTIFICATE 1u
#define CVM_KIND_KEY_SEC1_PKCS1 2u
#define CVM_KIND_KEY_PKCS8 3u
#define CVM_KIND_ROOT_CA 4u
#define CVM_KIND_ENDPOINT 5u
#define CVM_KIND_THING_NAME 6u

/* Flags of PROOF. */
#define CVM_PROOF_HAVE 1u
#define CVM_PROOF_CSR 2u
#define CVM_PROOF_RENEW 4u

/* Why a request was refused; the high nibble says what to do. */
#define CVM_STATUS_BUSY 16u
#define CVM_STATUS_TURN 17u
#define CVM_STATUS_DRAINING 18u
#define CVM_STATUS_BACKEND 19u
#define CVM_STATUS_DEADLINE 20u
#define CVM_STATUS_STALE 32u
#define CVM_STATUS_AUTH 48u
#define CVM_STATUS_ISSUED 49u
#define CVM_STATUS_MAPPING 50u
#define CVM_STATUS_CHANNEL 51u
#define CVM_STATUS_QUOTA 52u
#define CVM_STATUS_MALFORMED 64u
#define CVM_STATUS_VERSION 65u
#define CVM_STATUS_SUITE 66u
#define CVM_STATUS_FLAG 67u
#define CVM_STATUS_MAX_FRAME 68u
#define CVM_STATUS_WANT 69u
#define CVM_STATUS_SEQUENCE 70u
#define CVM_STATUS_CSR_NEEDED 71u
#define CVM_STATUS_CSR_BAD 72u
#define CVM_STATUS_CSR_UNWANTED 73u

/* How far a vend had come. */
#define CVM_STAGE_HELLO 1u
#define CVM_STAGE_PROOF 2u
#define CVM_STAGE_QUEUE 3u
#define CVM_STAGE_CREATE 4u
#define CVM_STAGE_ATTACH 5u
#define CVM_STAGE_DELIVER 6u
#define CVM_STAGE_ACTIVATE 7u

/* The smallest and the largest body of each type. */
#define CVM_SHORTEST_HELLO 27u
#define CVM_LONGEST_HELLO 255u
#define CVM_SHORTEST_CHALLENGE 34u
#define CVM_LONGEST_CHALLENGE 34u
#define CVM_SHORTEST_CLEAR_REFUSE 24u
#define CVM_LONGEST_CLEAR_REFUSE 24u
#define CVM_SHORTEST_PROOF 5u
#define CVM_LONGEST_PROOF 2085u
#define CVM_SHORTEST_FETCH 4u
#define CVM_LONGEST_FETCH 4u
#define CVM_SHORTEST_ACK 32u
#define CVM_LONGEST_ACK 32u
#define CVM_SHORTEST_WAIT 2u
#define CVM_LONGEST_WAIT 2u
#define CVM_SHORTEST_REFUSE 8u
#define CVM_LONGEST_REFUSE 8u
#define CVM_SHORTEST_MANIFEST 18u
#define CVM_LONGEST_MANIFEST 18u
#define CVM_SHORTEST_DATA 3u
#define CVM_LONGEST_DATA 1381u
#define CVM_SHORTEST_DONE 6u
#define CVM_LONGEST_DONE 6u

/* Suite mac: what it adds to a body, to an end's first one, and its least max_frame. */
#define CVM_MAC_OVERHEAD 16u
#define CVM_MAC_FIRST_OVERHEAD 16u
#define CVM_MAC_MIN_MAX_FRAME 48u

/* Suite noise: what it adds to a body, to an end's first one, and its least max_frame. */
#define CVM_NOISE_OVERHEAD 17u
#define CVM_NOISE_FIRST_OVERHEAD 49u
#define CVM_NOISE_MIN_MAX_FRAME 56u

#endif
