/* How a shard goes to sleep, and who wakes it: park_state.zig (the word), idle.zig
 * (park), scheduler.zig (notify, ringFromOutside), shard.zig (hasWork, bellFailed, armEventfd), all in
 * zig-src/scheduler, and runtime/runtime.zig (shutdown).
 * One shard parks; two producers publish, look at the word and ring; a third comes with a round of
 * cancels, then with stop, and takes the ring down; a timer falls due.
 *
 * Each access to something shared is a step of its own, and the steps of all are tried in each order.
 * The code uses sequentially consistent operations for all of them, so an order is all there is.
 *
 * -DREFUSALS    the kernel may refuse a MSG_RING; the eventfd of the target stands in
 * -DNO_EVENTFD  it has none (a kernel with IORING_REGISTER_SEND_MSG_RING): the backstop stands in
 * -DBACKSTOP    a wait may end by itself; everything else is proven without it
 * -DNO_TIMER    none falls due: a smaller search
 * -DMUTANT_...  one step is wrong; tests/test_models.py wants each of them found
 */

#ifndef PAYLOADS
#define PAYLOADS 1 /* of the first producer; the second has one */
#endif

mtype = { running, parking, parked, notified };
mtype word = running;

byte queued;          /* published, not taken: the inbox, the lanes, the stealable queue */
byte rounds, rounds_seen;
bool stop;
bool due, fired;      /* the timer */

byte completions;     /* bells in the completion queue of the shard's ring */
bool read_done;       /* there too: the read of the eventfd has ended */
bool armed;           /* that read is under way */
bool arm;             /* it is in the submission queue */
bool watched;         /* what the shard knows: queued, under way, or ended and not reaped */
bool signalled;       /* the eventfd's counter */
bool ring_open = true;
byte ringing;         /* threads that are about to ring */
bool gone;            /* the shard has left its loop */

bool asleep;          /* ghost: between commit and resumed */
byte rights;          /* ghost: how often the right to ring was won in this park */

#define has_completions (completions > 0 || read_done)
#define has_work (queued > 0 || stop || rounds != rounds_seen || (due && !fired))

/* ---- who has published something ---- */

inline winTheRight() {
	assert(asleep);       /* A shard that is awake is never rung, */
	rights++;
	assert(rights == 1);  /* and one that sleeps is rung once. */
	word = notified;
	rings = true
}

/* The guard of each branch is the load; what follows is the exchange. */
inline look_and_claim() {
	do
	:: word == running || word == notified -> break
	:: word == parking ->
		atomic {
			if
#ifdef MUTANT_RING_PARKING
			:: word == parking -> winTheRight(); break
#else
			:: word == parking -> word = notified; break
#endif
			:: else
			fi
		}
	:: word == parked ->
#ifdef MUTANT_CLAIM_BY_STORE
		atomic { winTheRight() }; break
#else
		atomic { if :: word == parked -> winTheRight(); break :: else fi }
#endif
	od
}

inline signalEventfd() {
	atomic {
		if
		:: armed -> armed = false; read_done = true
		:: else -> signalled = true
		fi
	}
}

inline ring_bell() {
	assert(ring_open);
	if
	:: completions++
#ifdef REFUSALS
	:: skip;
#ifdef NO_EVENTFD
#elif !defined(MUTANT_RESULT_IGNORED)
	   signalEventfd()
#endif
#endif
	fi
}

inline notify() {
#ifdef MUTANT_COUNTED_LATE
	look_and_claim();
	ringing++;
#else
	ringing++;
	look_and_claim();
#endif
	if
	:: rings -> ring_bell()
	:: else
	fi;
	atomic { ringing--; rings = false }
}

proctype Producer(byte left) {
	bool rings;
	do
	:: left > 0 ->
#ifdef MUTANT_NOTIFY_FIRST
		notify();
		queued++;
#else
		queued++;
		notify();
#endif
		left--
	:: left == 0 -> break
	od
}

/* Maybe a round of cancels, maybe the end: a wake of one must not hide that another was lost. */
proctype Closer() {
	bool rings;
	if
	:: rounds++; notify()
	:: skip
	fi;
	if
	:: stop = true;
	   notify();
	   gone;
	   ringing == 0;
	   ring_open = false
	:: skip
	fi
}

proctype Clock() {
	if
	:: due = true
	:: skip
	fi
}

/* ---- the shard ---- */

inline enterKernel() {
	atomic {
		if
		:: arm && signalled -> arm = false; signalled = false; read_done = true
		:: arm && !signalled -> arm = false; armed = true
		:: else
		fi
	}
}

inline runPass() {
	atomic {
		completions = 0;
		if
		:: read_done ->
			read_done = false;
#ifndef MUTANT_NO_REARM
			watched = false
#endif
		:: else
		fi
	};
	queued = 0;
	if
	:: due -> fired = true
	:: else
	fi;
	rounds_seen = rounds
}

inline announce() {
	atomic { if :: !watched -> watched = true; arm = true :: else fi };
	atomic { assert(word == running); word = parking }
}

/* Shard.hasWork, source by source. */
inline look() {
	found = queued > 0;
	if :: !found -> found = has_completions :: else fi;
#ifndef MUTANT_FORGET_STOP
	if :: !found -> found = stop :: else fi;
#endif
#ifndef MUTANT_FORGET_ROUNDS
	if :: !found -> found = (rounds != rounds_seen) :: else fi
#endif
}

/* Where a producer came in between, the shard is running again. */
inline commit() {
	if
#ifdef MUTANT_COMMIT_BY_STORE
	:: word == parking -> atomic { word = parked; asleep = true }
#else
	:: atomic { word == parking -> word = parked; asleep = true }
#endif
	:: word != parking -> assert(word == notified); word = running
	fi
}

inline resumed() {
	atomic { assert(word != running); word = running; asleep = false; rights = 0; found = false }
}

proctype Shard() {
	bool found;
	do
	:: stop -> break
	:: !stop ->
		runPass();
		if
		:: queued > 0 -> enterKernel() /* Awake all the time. */
		:: else ->
#ifdef MUTANT_LOOK_FIRST
			look();
			announce();
#else
			announce();
#ifdef MUTANT_NO_RECHECK
			found = false;
#else
			look();
#endif
#endif
			if
			:: found -> resumed()
			:: else ->
				commit();
				if
				:: asleep ->
					enterKernel();
end_asleep:				if
					:: has_completions
#ifndef MUTANT_FORGET_TIMER
					:: due && !fired
#endif
#ifdef BACKSTOP
					:: true
#endif
					fi;
					resumed()
				:: else
				fi
			fi
		fi
	od;
	gone = true
}

/* When nothing else can move: nobody sleeps on something. */
proctype Watch() {
	timeout;
	assert(gone || !has_work);
	assert(!stop || !ring_open)
}

init {
	atomic {
		run Shard();
		run Producer(PAYLOADS);
		run Producer(1);
		run Closer();
#ifndef NO_TIMER
		run Clock();
#endif
		run Watch()
	}
}

ltl work_is_taken { [] (queued > 0 -> <> (queued == 0 || stop)) }
ltl stop_is_seen { [] (stop -> <> !ring_open) }
ltl rounds_are_seen { [] (rounds != rounds_seen -> <> (rounds == rounds_seen || stop)) }
ltl timers_fire { [] (due -> <> (fired || stop)) }
