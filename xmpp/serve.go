package xmpp

import "time"

// Peers can send requests at any rate, and an answer may have to wait until the server
// reads. So the number of answering goroutines and the backlog are limited. Requests
// beyond that get no answer.
const (
	maxServing = 8       // goroutines that answer
	maxOthers  = 7       // of them, those for requests from anyone but the account's server
	maxBacklog = 4 << 20 // bytes of memory for requests of the server, and for those of others; a single one may exceed it
	maxAnswers = 20      // answers to others per second: a flood is not echoed
	maxEcho    = 8 << 10 // bytes in the id and the sender of a request, which its answer repeats
)

// requests are the unanswered requests. Those of the account's server, such as pings
// and roster pushes, do not wait for those of others.
type requests struct {
	own, others backlog
	rate        rate
	running     int // goroutines
	unanswered  int // requests beyond the limits
}

// A backlog is the requests of one origin.
type backlog struct {
	waiting []request
	serving int
	cost    int64 // memory of the waiting and the served ones
}

type request struct {
	iq   *Element
	over bool // it exceeds a limit, so its payload is unknown
	cost int64
	of   *backlog
}

// requested queues a request that has arrived to be answered.
func (s *Session) requested(a incoming) {
	own := fromServer(a.stanza, s.jid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	large := len(Attr(a.stanza, "id"))+len(Attr(a.stanza, "from")) > maxEcho
	if large || !s.requests.add(request{iq: a.stanza, over: a.over != nil, cost: a.cost}, own) {
		s.requests.unanswered++
		return
	}
	if s.requests.running < maxServing {
		s.requests.running++
		s.serving.Go(s.serveAll)
	}
}

// add queues a request, and reports whether it will be answered.
func (r *requests) add(q request, own bool) bool {
	q.of = &r.own
	if !own {
		if q.of = &r.others; !r.rate.allow(time.Now()) {
			return false
		}
	}
	if q.of.cost > 0 && q.of.cost+q.cost > maxBacklog {
		return false
	}
	q.of.cost += q.cost
	q.of.waiting = append(q.of.waiting, q)
	return true
}

// next removes the request to answer next, if there is one.
func (r *requests) next() (q request, ok bool) {
	b := &r.own
	if len(b.waiting) == 0 {
		b = &r.others
	}
	if len(b.waiting) == 0 || b == &r.others && b.serving == maxOthers {
		return q, false
	}
	q = b.waiting[0]
	b.waiting[0] = request{}
	b.waiting = b.waiting[1:]
	b.serving++
	return q, true
}

// serveAll answers requests as long as there are any.
func (s *Session) serveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		q, ok := s.requests.next()
		if !ok {
			s.requests.running--
			return
		}
		s.mu.Unlock()
		s.serve(q)
		s.mu.Lock()
		q.of.serving--
		q.of.cost -= q.cost
	}
}

// serve answers a request, each exactly once (RFC 6120, section 8.2.3). Stanzas yields
// roster pushes, too.
func (s *Session) serve(q request) {
	iq := q.iq
	var answer *Element
	var payload *Element
	n := 0
	for payload = range Elements(iq) {
		n++
	}
	switch {
	case q.over:
		answer = Refusal(iq, "modify", PolicyViolation)
	case n != 1:
		answer = Refusal(iq, "modify", BadRequest)
	case Is(payload, NSPing, "ping") && Attr(iq, "type") == "get" && fromServer(iq, s.jid):
		answer = Result(iq)
	case Is(payload, NSRoster, "query") && Attr(iq, "type") == "set":
		if _, _, ok := rosterPush(iq, s.jid); !ok {
			return // a forged push gets no answer (RFC 6121, section 2.1.6)
		}
		answer = Result(iq)
	case s.o.HandleIQ != nil:
		answer = s.o.HandleIQ(s.ctx, iq)
	}
	if answer == nil {
		answer = Refusal(iq, "cancel", ServiceUnavailable)
	}
	// If the write fails, the session ends and its users see that.
	_ = s.Send(s.ctx, answer)
}

// rate limits the answers to requests.
type rate struct {
	second time.Time
	n      int
}

func (r *rate) allow(now time.Time) bool {
	if now.Sub(r.second) >= time.Second {
		r.second, r.n = now, 0
	}
	r.n++
	return r.n <= maxAnswers
}
