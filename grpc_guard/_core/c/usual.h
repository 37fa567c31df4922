/* What runs in nearly each message or RPC, and what hardly ever does.
 *
 * Of the code of an RPC only a hundredth is the guard's, and none of it is near when its turn comes. What is usual lies
 * together therefore: each further page of code has to be found, which takes as long as a hundred instructions.
 */

#ifndef GRPC_GUARD_USUAL_H
#define GRPC_GUARD_USUAL_H

#if defined(__GNUC__)
#define USUAL __attribute__((hot))
#define UNUSUAL __attribute__((cold, noinline))
#define USUALLY(condition) __builtin_expect(!!(condition), 1)
#else
#define USUAL
#define UNUSUAL
#define USUALLY(condition) (condition)
#endif

#endif
