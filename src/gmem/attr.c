/* SPDX-License-Identifier: MIT */
/*
 * The attribute tree of a file: an AVL tree of range starts. A change cuts the tree at both ends of
 * its range, leaves out what lies between, and joins the rest again:
 *
 *	[--- left ---) [-- dropped --) [--- right ---)   ->   left + new start(s) + right
 *
 * A node of the published tree is copied before it is changed; the copies ("fresh") are changed in
 * place until they are published. So a set being made knows two lists: its fresh nodes, which an
 * abort frees, and the nodes that they replace, which are freed once nobody reads the tree before.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/sync.h"
#include "gmem/attr.h"

/* A range from @start to the next node's, or to the end of the file. */
struct attr_node {
	u64 start;
	struct attr_node *left, *right;
	struct attr_node *link; /* the list it is on, of the set being made; readers don't look */
	u32 size;		/* nodes below and including it */
	u8 height;
	bool private;
	bool fresh; /* of the set being made, which alone knows it; readers don't look */
};

struct gmem_attr_set {
	struct sync_rcu_head rcu;
	struct host *host;
	u64 nr_indexes;
	struct attr_node *root; /* its first node starts at 0 */
	struct attr_node *fresh;
	/* Of the tree before while this one is made; once it is the tree before, its own. */
	struct attr_node *replaced; /* list: copies have taken their places */
	struct attr_node *dropped;  /* tree: in the next set no more */
};

/* ---- nodes -----------------------------------------------------------------------------------*/
static struct attr_node *node_new(struct gmem_attr_set *set, u64 start, bool private)
{
	struct attr_node *node;

	if (host_alloc_fails(set->host))
		return NULL;
	node = malloc(sizeof(*node));
	if (!node)
		return NULL;
	*node = (struct attr_node){
		.start = start,
		.private = private,
		.size = 1,
		.height = 1,
		.fresh = true,
		.link = set->fresh,
	};
	set->fresh = node;
	return node;
}

/* @node, or the copy that takes its place if others see it too; NULL without memory. */
static struct attr_node *own(struct gmem_attr_set *set, struct attr_node *node)
{
	struct attr_node *copy;

	if (node->fresh)
		return node;
	copy = node_new(set, node->start, node->private);
	if (!copy)
		return NULL;
	copy->left = node->left;
	copy->right = node->right;
	copy->size = node->size;
	copy->height = node->height;
	node->link = set->replaced;
	set->replaced = node;
	return copy;
}

static int height(const struct attr_node *node)
{
	return node ? node->height : 0;
}

static u32 size(const struct attr_node *node)
{
	return node ? node->size : 0;
}

static void update(struct attr_node *node)
{
	int left = height(node->left), right = height(node->right);

	node->height = (u8)((left > right ? left : right) + 1);
	node->size = size(node->left) + size(node->right) + 1;
}

/* ---- balance: @node is fresh; NULL without memory --------------------------------------------*/
static struct attr_node *rotate_right(struct gmem_attr_set *set, struct attr_node *node)
{
	struct attr_node *up = own(set, node->left);

	if (!up)
		return NULL;
	node->left = up->right;
	up->right = node;
	update(node);
	update(up);
	return up;
}

static struct attr_node *rotate_left(struct gmem_attr_set *set, struct attr_node *node)
{
	struct attr_node *up = own(set, node->right);

	if (!up)
		return NULL;
	node->right = up->left;
	up->left = node;
	update(node);
	update(up);
	return up;
}

/* The children of @node differ in height by two at most. */
static struct attr_node *balance(struct gmem_attr_set *set, struct attr_node *node)
{
	int lean = height(node->left) - height(node->right);
	struct attr_node *child;

	if (lean > 1) {
		child = own(set, node->left);
		if (child && height(child->left) < height(child->right))
			child = rotate_left(set, child);
		node->left = child;
		return child ? rotate_right(set, node) : NULL;
	}
	if (lean < -1) {
		child = own(set, node->right);
		if (child && height(child->right) < height(child->left))
			child = rotate_right(set, child);
		node->right = child;
		return child ? rotate_left(set, node) : NULL;
	}
	update(node);
	return node;
}

/* ---- cutting and joining ---------------------------------------------------------------------*/

/* The tree of @left, @middle (fresh) and @right, in this order; NULL without memory. */
static struct attr_node *join(struct gmem_attr_set *set, struct attr_node *left,
			      struct attr_node *middle, struct attr_node *right)
{
	struct attr_node *top;

	if (height(left) > height(right) + 1) {
		top = own(set, left);
		if (!top)
			return NULL;
		top->right = join(set, top->right, middle, right);
		return top->right ? balance(set, top) : NULL;
	}
	if (height(right) > height(left) + 1) {
		top = own(set, right);
		if (!top)
			return NULL;
		top->left = join(set, left, middle, top->left);
		return top->left ? balance(set, top) : NULL;
	}
	middle->left = left;
	middle->right = right;
	update(middle);
	return middle;
}

/* Cuts @node's tree into what starts below @start and the rest; false without memory. */
static bool cut(struct gmem_attr_set *set, struct attr_node *node, u64 start,
		struct attr_node **below, struct attr_node **rest)
{
	struct attr_node *between = NULL;

	*below = NULL;
	*rest = NULL;
	if (!node)
		return true;
	node = own(set, node);
	if (!node)
		return false;
	if (node->start < start) {
		if (!cut(set, node->right, start, &between, rest))
			return false;
		*below = join(set, node->left, node, between);
		return *below;
	}
	if (!cut(set, node->left, start, below, &between))
		return false;
	*rest = join(set, between, node, node->right);
	return *rest;
}

/* Takes the last node out of @node's tree, which isn't empty; false without memory. */
static bool take_last(struct gmem_attr_set *set, struct attr_node *node, struct attr_node **last,
		      struct attr_node **rest)
{
	node = own(set, node);
	if (!node)
		return false;
	if (!node->right) {
		*last = node;
		*rest = node->left;
		return true;
	}
	if (!take_last(set, node->right, last, &node->right))
		return false;
	*rest = balance(set, node);
	return *rest;
}

/* The tree of @left and @right, which aren't both empty; NULL without memory. */
static struct attr_node *join_two(struct gmem_attr_set *set, struct attr_node *left,
				  struct attr_node *right)
{
	struct attr_node *last;

	if (!left)
		return right;
	if (!take_last(set, left, &last, &left))
		return NULL;
	return join(set, left, last, right);
}

/* ---- sets ------------------------------------------------------------------------------------*/
static struct gmem_attr_set *set_new(struct host *host, u64 nr_indexes)
{
	struct gmem_attr_set *set;

	if (host_alloc_fails(host))
		return NULL;
	set = calloc(1, sizeof(*set));
	if (!set)
		return NULL;
	set->host = host;
	set->nr_indexes = nr_indexes;
	return set;
}

static void free_list(struct attr_node *node)
{
	struct attr_node *next;

	for (; node; node = next) {
		next = node->link;
		free(node);
	}
}

static void free_tree(struct attr_node *node)
{
	if (!node)
		return;
	free_tree(node->left);
	free_tree(node->right);
	free(node);
}

static void set_free_rcu(struct sync_rcu_head *head)
{
	struct gmem_attr_set *set = container_of(head, struct gmem_attr_set, rcu);

	free_list(set->replaced);
	free_tree(set->dropped);
	free(set);
}

/* The range that @index lies in, and where it ends. */
static const struct attr_node *find(const struct gmem_attr_set *set, u64 index, u64 *end)
{
	const struct attr_node *node = set->root, *found = NULL;

	*end = set->nr_indexes;
	while (node) {
		if (node->start <= index) {
			found = node;
			node = node->right;
		} else {
			*end = node->start;
			node = node->left;
		}
	}
	return found;
}

bool gmem_attr_set_is_private(const struct gmem_attr_set *set, u64 index)
{
	u64 end;

	return find(set, index, &end)->private;
}

u64 gmem_attr_set_run_end(const struct gmem_attr_set *set, u64 index, u64 end)
{
	u64 run_end;

	find(set, index, &run_end);
	return min_u64(run_end, end);
}

bool gmem_attr_set_all_private(const struct gmem_attr_set *set, u64 index, u64 nr)
{
	u64 end;

	return find(set, index, &end)->private && end >= index + nr;
}

static u32 all_of(const struct gmem_attr_set *set)
{
	if (set->root->size > 1)
		return GMEM_ALL_MIXED;
	return set->root->private ? GMEM_ALL_PRIVATE : GMEM_ALL_SHARED;
}

/* ---- attributes ------------------------------------------------------------------------------*/
int gmem_attrs_init(struct gmem_attrs *attrs, struct host *host, u64 nr_indexes, bool private)
{
	struct gmem_attr_set *set = set_new(host, nr_indexes);

	if (!set)
		return -ENOMEM;
	set->root = node_new(set, 0, private);
	if (!set->root) {
		free(set);
		return -ENOMEM;
	}
	set->root->fresh = false;
	set->fresh = NULL;
	*attrs = (struct gmem_attrs){
		.host = host, .nr_indexes = nr_indexes, .set = set, .all = all_of(set)};
	return 0;
}

void gmem_attrs_destroy(struct gmem_attrs *attrs)
{
	free_tree(attrs->set->root);
	free(attrs->set);
}

/* Pairs with the release in gmem_attrs_commit(): the tree is complete. */
const struct gmem_attr_set *gmem_attrs_current(const struct gmem_attrs *attrs)
{
	return sync_load_acquire(&attrs->set);
}

bool gmem_attrs_is_private(struct gmem_attrs *attrs, u64 index)
{
	u32 all = sync_load_acquire(&attrs->all); /* pairs with gmem_attrs_commit() */
	bool private;

	if (likely(all != GMEM_ALL_MIXED))
		return all == GMEM_ALL_PRIVATE;
	sync_rcu_read_lock();
	private = gmem_attr_set_is_private(gmem_attrs_current(attrs), index);
	sync_rcu_read_unlock();
	return private;
}

bool gmem_attrs_is_uniform(struct gmem_attrs *attrs, u64 index, u64 nr)
{
	/* Pairs with gmem_attrs_commit(). */
	return likely(sync_load_acquire(&attrs->all) != GMEM_ALL_MIXED) ||
	       gmem_attrs_run_end(attrs, index, index + nr) == index + nr;
}

u64 gmem_attrs_nr_ranges(struct gmem_attrs *attrs)
{
	u64 nr;

	sync_rcu_read_lock();
	nr = gmem_attrs_current(attrs)->root->size;
	sync_rcu_read_unlock();
	return nr;
}

u64 gmem_attrs_run_end(struct gmem_attrs *attrs, u64 index, u64 end)
{
	u64 run_end;

	sync_rcu_read_lock();
	run_end = gmem_attr_set_run_end(gmem_attrs_current(attrs), index, end);
	sync_rcu_read_unlock();
	return run_end;
}

/*
 * The next tree: starts in [@index, @last] go, since the change takes them in or ends at them; @index
 * and @last are starts afterwards if the attribute differs from their left neighbour's.
 */
static bool change(struct gmem_attr_set *next, const struct gmem_attr_set *now, u64 index, u64 last,
		   bool private)
{
	bool starts = !index || gmem_attr_set_is_private(now, index - 1) != private;
	bool ends = last < now->nr_indexes && gmem_attr_set_is_private(now, last) != private;
	struct attr_node *left, *right, *node;

	if (!cut(next, now->root, index, &left, &right) ||
	    !cut(next, right, last + 1, &next->dropped, &right))
		return false;
	if (ends) {
		node = node_new(next, last, !private);
		right = node ? join(next, NULL, node, right) : NULL;
		if (!right)
			return false;
	}
	if (starts) {
		node = node_new(next, index, private);
		next->root = node ? join(next, left, node, right) : NULL;
	} else {
		next->root = join_two(next, left, right);
	}
	return next->root;
}

struct gmem_attr_set *gmem_attrs_prepare(const struct gmem_attrs *attrs, u64 index, u64 nr,
					 bool private)
{
	struct gmem_attr_set *next = set_new(attrs->host, attrs->nr_indexes);

	if (next && !change(next, attrs->set, index, index + nr, private)) {
		gmem_attrs_abort(next);
		return NULL;
	}
	return next;
}

void gmem_attrs_commit(struct gmem_attrs *attrs, struct gmem_attr_set *next)
{
	struct gmem_attr_set *old = attrs->set;

	for (struct attr_node *node = next->fresh; node; node = node->link)
		node->fresh = false;
	next->fresh = NULL;
	old->replaced = next->replaced;
	old->dropped = next->dropped;
	next->replaced = NULL;
	next->dropped = NULL;
	/*
	 * A reader that has seen the next state by the one way sees it by the other. Pair with the
	 * acquires of @all, and in gmem_attrs_current().
	 */
	sync_store(&attrs->all, GMEM_ALL_MIXED);
	sync_store_release(&attrs->set, next);
	sync_store_release(&attrs->all, all_of(next));
	sync_rcu_call(&old->rcu, set_free_rcu);
}

void gmem_attrs_abort(struct gmem_attr_set *next)
{
	free_list(next->fresh);
	free(next);
}
