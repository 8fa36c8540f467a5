/* The state word of a task: zig-src/task/task.zig (claimWake, claimWakeAfterWrites),
 * zig-src/scheduler/shard.zig (poll, requeue, wake), and where it lies meanwhile. A stealable task waits for two shards; the one
 * that takes it is its home. Two wakers on other threads and a completion on the home shard each set
 * something that the task wants to see, and wake it. The task ends when it has seen all three. The
 * second waker is a program's own thread: its stores are plain ones.
 *
 * Each access to something shared is a step of its own. That a shard with something in its inbox does
 * not sleep is the matter of park.pml.
 *
 * -DMUTANT_...  one step is wrong; tests/test_models.py wants each of them found
 */

#define WAKERS 2
#define ALL 3            /* the wakers and the completion */
#define NONE 255

mtype = { queued, running, running_notified, idle, ended };
mtype state = queued;

bool set[ALL];           /* what the wakers have set */
bool seen[ALL];          /* by the task */
byte home = NONE;
bool launched, yielded;  /* the task has launched its operation; it has yielded once */
bool flying;             /* the kernel has an operation of the task */

bool stealable = true;   /* it lies in the stealable queue of a shard, */
byte inbox[2];           /* in the inbox of one, */
byte list[2];            /* or in a list of one */
#define queues (stealable + inbox[0] + inbox[1] + list[0] + list[1])

byte polls;              /* ghost: shards inside the task's poll */

inline put(queue) {
	atomic { assert(queues == 0); queue++ }
}

/* Task.claimWake; the guard of each branch is the load. */
inline claimWake(won) {
	do
	:: state == queued || state == running_notified || state == ended -> break
	:: state == running ->
#ifdef MUTANT_NO_NOTE
		break
#else
		atomic { if :: state == running -> state = running_notified; break :: else fi }
#endif
	:: state == idle ->
#ifdef MUTANT_CLAIM_BY_STORE
		state = queued; won = true; break
#else
		atomic { if :: state == idle -> state = queued; won = true; break :: else fi }
#endif
	od
}

/* Task.claimWakeAfterWrites: each way writes the state, and what was stored before is visible by then. */
inline claimWakeAfterWrites(won) {
#ifdef MUTANT_LOOK_ONLY
	claimWake(won)
#else
	atomic {
		if
		:: state == queued -> set[1] = true
		:: state == idle -> set[1] = true; state = queued; won = true
		:: state == running || state == running_notified -> set[1] = true; state = running_notified
		:: state == ended
		fi
	}
#endif
}

/* A plain store is visible at some time between here and its writer's end. */
inline wakeAsProgram() {
	if
	:: set[1] = true
	:: skip
	fi;
	claimWakeAfterWrites(won);
	set[1] = true
}

proctype Waker(byte me) {
	bool won;
	if
	:: me == 1 -> wakeAsProgram()
	:: else ->
#ifdef MUTANT_WAKE_FIRST
		claimWake(won);
		set[me] = true
#else
		set[me] = true;
		claimWake(won)
#endif
	fi;
	if
	:: won ->
		assert(home != NONE);
#ifdef MUTANT_ANY_SHARD
		put(inbox[me])
#else
		put(inbox[home])
#endif
	:: else
	fi
}

/* A completion wakes on the home shard, between two polls. */
inline reap(me) {
	flying = false;
	set[WAKERS] = true;
	claimWake(won);
	if
	:: won -> put(list[me])
	:: else
	fi;
	won = false
}

/* The task's own code: it looks at one thing after the other, and launches its operation once. */
inline look() {
	if
	:: !launched -> launched = true; flying = true
	:: else
	fi;
	seen[0] = set[0];
	seen[1] = set[1];
	seen[2] = set[2]
}

inline poll(me) {
#ifdef MUTANT_RELAXED_RUNNING
	/* A plain store may become visible only after the loads that follow it. */
	if
	:: assert(state == queued); state = running; enter(me); look()
	:: enter(me); look(); assert(state == queued); state = running
	fi;
#else
	atomic { assert(state == queued); state = running };
	enter(me);
	look();
#endif
	polls--;
	if
	:: seen[0] && seen[1] && seen[2] -> state = ended
	:: else ->
		if
		:: !yielded -> yielded = true; state = queued; put(list[me])
		:: pend(me)
		fi
	fi
}

inline enter(me) {
	polls++;
	assert(polls == 1);
	if
	:: home == NONE -> home = me
	:: else
	fi;
	assert(home == me)
}

inline pend(me) {
	if
#ifdef MUTANT_IDLE_BY_STORE
	:: state == running -> state = idle
#else
	:: atomic { state == running -> state = idle }
#endif
	:: state == running_notified -> state = queued; put(list[me])
	fi
}


proctype Shard(byte me) {
	bool won;
end_asleep:
	do
	:: atomic { stealable -> stealable = false }; poll(me)
	:: atomic { list[me] > 0 -> list[me]-- }; poll(me)
	:: atomic { inbox[me] > 0 -> inbox[me]--; list[me]++ }
	:: flying && home == me && polls == 0 -> reap(me)
	od
}

/* When nothing else can move: no wake was lost. */
proctype Watch() {
	timeout;
	assert(state == ended && queues == 0);
	assert(seen[0] && seen[1] && seen[2])
}

init {
	atomic {
		run Shard(0);
		run Shard(1);
		run Waker(0);
		run Waker(1);
		run Watch()
	}
}

ltl it_ends { <> (state == ended) }
