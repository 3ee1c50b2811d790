package cmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// discoInfo is the identities, features and forms of an entity.
type discoInfo struct {
	Kind       string          `json:"kind"`
	JID        string          `json:"jid"`
	Node       string          `json:"node"`
	Identities []discoIdentity `json:"identities"`
	Features   []string        `json:"features"`
	Forms      []discoForm     `json:"forms"`

	depth int // in the tree
}

type discoIdentity struct {
	Category string `json:"category"`
	Type     string `json:"type"`
	Name     string `json:"name"`
	Lang     string `json:"lang"`
}

// discoForm is a form of XEP-0128: values by field.
type discoForm struct {
	Type   string              `json:"form_type"`
	Fields map[string][]string `json:"fields"`
}

// newDiscoInfo makes the record of the answer of e.
func newDiscoInfo(e xep.Entity, info xep.DiscoInfo, depth int) *discoInfo {
	r := &discoInfo{
		depth: depth, Kind: "disco_info", JID: e.JID.String(), Node: e.Node,
		Identities: []discoIdentity{}, Features: append([]string{}, info.Features...), Forms: []discoForm{},
	}
	for _, i := range info.Identities {
		r.Identities = append(r.Identities, discoIdentity(i))
	}
	for _, f := range info.Forms {
		r.Forms = append(r.Forms, discoForm(f))
	}
	return r
}

func (r *discoInfo) WriteText(t *output.Text) {
	margin := margin(r.depth, true)
	if r.depth == 0 { // below, the item has just said it
		t.Printf("%s%s\n", r.JID, ofNode(r.Node))
	}
	if len(r.Identities) > 0 {
		t.Printf("%sidentities:\n", margin)
	}
	for _, i := range r.Identities {
		t.Printf("%s  %s/%s", margin, i.Category, i.Type)
		if i.Name != "" {
			t.Printf("  %s", output.Words(i.Name))
		}
		t.Printf("\n")
	}
	if len(r.Features) > 0 {
		t.Printf("%sfeatures:\n", margin)
	}
	for _, f := range r.Features {
		t.Printf("%s  %s\n", margin, f)
	}
	for _, form := range r.Forms {
		t.Printf("%sform%s:\n", margin, strings.TrimSuffix(" "+form.Type, " "))
		for _, name := range slices.Sorted(maps.Keys(form.Fields)) {
			for _, value := range form.Fields[name] {
				t.Printf("%s  %s: %s\n", margin, name, output.Words(value))
			}
		}
	}
}

func ofNode(node string) string {
	if node == "" {
		return ""
	}
	return " node=" + node
}

// margin is the indentation of the sections of an entity. If there is info, the items
// are a section with a heading too.
func margin(depth int, info bool) string {
	if info {
		return strings.Repeat("    ", depth) + "  "
	}
	return strings.Repeat("  ", depth)
}

// discoItem is one item of an entity.
type discoItem struct {
	Kind string `json:"kind"`
	Of   string `json:"of"`
	JID  string `json:"jid"`
	Node string `json:"node"`
	Name string `json:"name"`

	margin  string
	heading bool
	again   bool // its items were shown above
}

func (r *discoItem) WriteText(t *output.Text) {
	if r.heading {
		t.Printf("%sitems:\n", r.margin[2:])
	}
	t.Printf("%s%s%s", r.margin, r.JID, ofNode(r.Node))
	if r.Name != "" {
		t.Printf("  %s", output.Words(r.Name))
	}
	if r.again {
		t.Printf("  (shown above)")
	}
	t.Printf("\n")
}

// discoFailure takes the place of a missing answer in text.
type discoFailure struct {
	margin, of string
	err        *stanzaError
}

func (r discoFailure) WriteText(t *output.Text) {
	t.Printf("%s%s%s\n", r.margin, r.of, output.Words(r.err.String()))
}

type discoverer struct {
	env   *Env
	to    xep.Entity
	info  bool
	items bool
	tree  bool
	depth int
	has   []string

	walk    *xep.Walk
	shown   map[xep.Question]bool
	printed bool // something
	failed  bool // a part of it
}

const maxTreeDepth = 100 // it is indented

func newDiscoCmd(env *Env) *cobra.Command {
	d := &discoverer{env: env}
	cmd := &cobra.Command{
		Use:  "disco [flags] [JID]",
		Args: flags.Args(0, 1, "JID"),
		RunE: d.run,
	}
	fs := cmd.Flags()
	fs.BoolVar(&d.info, "info", false, "show the identities, features and forms")
	fs.BoolVar(&d.items, "items", false, "show the items")
	fs.StringVar(&d.to.Node, "node", "", "ask for `NODE` of the JID")
	fs.BoolVar(&d.tree, "tree", false, "show the items, their items, and so on")
	fs.IntVar(&d.depth, "depth", 8, "with --tree: show at most `LEVELS` of items")
	fs.StringArrayVar(&d.has, "has", nil, "exit with 0 only if the entity has `FEATURE`; repeatable")
	return cmd
}

func (d *discoverer) run(cmd *cobra.Command, args []string) error {
	if err := d.check(cmd); err != nil {
		return err
	}
	if len(d.has) > 0 { // else it only lists
		d.env.finishes()
	}
	targets, err := d.env.targets(args)
	if err != nil {
		return err
	}
	if err := d.env.needOutput(); err != nil {
		return err
	}
	o, err := d.env.account(cmd.Context())
	if err != nil {
		return err
	}
	o.Take = takeNothing
	d.to.JID = xmpp.JID{Domain: o.JID.Domain}
	if len(targets) > 0 {
		d.to.JID = targets[0].jid
	}
	d.env.noteNames(o.JID, d.to.JID)
	return d.env.withSession(cmd.Context(), o, func(ctx context.Context, s *xmpp.Session) error {
		d.walk = xep.NewWalk(s, d.questions)
		if len(d.has) > 0 {
			return d.checkFeatures(ctx, s)
		}
		return d.showAll(ctx)
	})
}

// check refuses invalid flags, and decides what is shown.
func (d *discoverer) check(cmd *cobra.Command) error {
	switch {
	case len(d.has) > 0 && (d.items || d.tree):
		return exit.Usagef("--has cannot be combined with --items or --tree")
	case cmd.Flags().Changed("depth") && !d.tree:
		return exit.Usagef("--depth needs --tree")
	case d.depth < 1 || d.depth > maxTreeDepth:
		return exit.Usagef("--depth: want 1 to %d", maxTreeDepth)
	}
	if err := xmpp.CheckText(d.to.Node); err != nil {
		return exit.Dataf("--node: %w", err)
	}
	if !d.info && !d.items && len(d.has) == 0 {
		d.info, d.items = !d.tree, true
	}
	if d.tree {
		d.items = true
	} else {
		d.depth = 1
	}
	return nil
}

// questions returns the requests to send to an entity at a depth of the tree. An
// address with a resource is a client. Clients of other people, such as the occupants
// of a room, are not asked.
func (d *discoverer) questions(e xep.Entity, depth int) []xep.Question {
	var q []xep.Question
	if e.JID.Resource != "" && e.JID != d.to.JID {
		return nil
	}
	if d.info && (depth == 0 || d.tree) {
		q = append(q, xep.Question{Entity: e, NS: xep.NSDiscoInfo})
	}
	if d.items && depth < d.depth {
		q = append(q, xep.Question{Entity: e, NS: xep.NSDiscoItems})
	}
	return q
}

func (d *discoverer) showAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.shown = make(map[xep.Question]bool)
	err := d.show(ctx, d.to, 0)
	if e := d.env.out.Flush(); e != nil {
		return e
	}
	if err == nil && d.failed {
		return exit.Negative("") // the lines above say it
	}
	return err
}

// show prints the answers of an entity and of its items, in the order of the tree, no
// matter when they arrive.
func (d *discoverer) show(ctx context.Context, e xep.Entity, depth int) error {
	var answers []*xep.Answer
	for _, q := range d.questions(e, depth) {
		if !d.shown[q] {
			d.shown[q] = true
			answers = append(answers, d.walk.Ask(ctx, q, depth))
		}
	}
	for _, a := range answers {
		if err := d.await(ctx, a); err != nil {
			return err
		}
		if a.Info != nil {
			if err := d.print(newDiscoInfo(e, *a.Info, depth)); err != nil {
				return err
			}
		}
		for i, item := range a.Items {
			if err := d.showItem(ctx, a, item, depth, i == 0); err != nil {
				return err
			}
		}
		if a.Err != nil {
			if err := d.fail(a, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *discoverer) showItem(ctx context.Context, of *xep.Answer, item xep.DiscoItem, depth int, first bool) error {
	r := &discoItem{Kind: "disco_item", Of: of.JID.String(), JID: item.Address, Node: item.Node, Name: item.Name, margin: margin(depth, d.info)}
	if d.info {
		r.margin, r.heading = r.margin+"  ", first
	}
	r.again = d.tree && d.shown[xep.Question{Entity: item.Entity, NS: xep.NSDiscoItems}]
	if err := d.print(r); err != nil || item.Entity.JID.IsZero() {
		return err
	}
	return d.show(ctx, item.Entity, depth+1)
}

func (d *discoverer) print(r output.Record) error {
	d.printed = true
	return d.env.out.Print(r)
}

// await waits for an answer. It first flushes what has been printed.
func (d *discoverer) await(ctx context.Context, a *xep.Answer) error {
	select {
	case <-a.Done:
		return nil
	default:
	}
	if err := d.env.out.Flush(); err != nil {
		return err
	}
	select {
	case <-a.Done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", questionText(a.Question), context.Cause(ctx))
	}
}

// fail shows the error of a part in its place, so that the rest can follow. It returns
// an error if nothing has been answered yet, or nothing more will be.
func (d *discoverer) fail(a *xep.Answer, depth int) error {
	err := fmt.Errorf("%s: %w", questionText(a.Question), a.Err)
	refused, ok := failedAnswer(a.Err)
	switch {
	case errors.Is(a.Err, xep.ErrTooMuch):
		return &exit.Error{Code: exit.Protocol, Class: "stanza", Err: err}
	case !ok || !d.printed:
		return err
	case a.NS == xep.NSDiscoItems && doesNoItems(a.JID, refused):
		return nil
	}
	d.failed = true
	if d.env.flags.json {
		d.env.printError(errorRecord{
			Kind: "error", Time: output.Time(time.Now()), Class: "stanza", ExitCode: exit.No, Retryable: stanzaCode(refused) == exit.Temporary,
			Message: err.Error(), Error: newStanzaError(refused), JID: quote(a.JID.String()),
		})
		return nil
	}
	of := a.JID.String() + ofNode(a.Node) + ": "
	if d.info {
		of += strings.TrimPrefix(path.Base(a.NS), "disco#") + ": "
	}
	return d.print(discoFailure{margin(depth, d.info), of, newStanzaError(refused)})
}

// questionText names a question in an error.
func questionText(q xep.Question) string {
	return path.Base(q.NS) + " of " + quote(q.JID.String()) + quote(ofNode(q.Node))
}

// doesNoItems reports whether a refusal only means that an entity does not support
// disco#items; only disco#info is required (XEP-0030, section 3.1). For a client, its
// server may refuse (RFC 6121, section 8.5.3.2.3).
func doesNoItems(jid xmpp.JID, e *xmpp.StanzaError) bool {
	return e.Condition == xmpp.FeatureNotImplemented || e.Condition == xmpp.ServiceUnavailable && jid.Resource != ""
}

// checkFeatures is --has.
func (d *discoverer) checkFeatures(ctx context.Context, s *xmpp.Session) error {
	a := d.walk.Ask(ctx, xep.Question{Entity: d.to, NS: xep.NSDiscoInfo}, 0)
	if err := d.await(ctx, a); err != nil {
		return err
	}
	if a.Err != nil {
		return fmt.Errorf("%s: %w", questionText(a.Question), a.Err)
	}
	if d.info || d.env.flags.json {
		if err := d.env.print(newDiscoInfo(a.Entity, *a.Info, 0)); err != nil {
			return err
		}
	}
	var missing []string
	for _, feature := range d.has {
		if !a.Info.Has(feature) {
			missing = append(missing, fmt.Sprintf("%s: %s%s does not have %s", s.JID().Bare(), d.to.JID, ofNode(d.to.Node), feature))
		}
	}
	if len(missing) > 0 {
		return exit.Negative(missing...)
	}
	return nil
}
