package proof

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

func someLeaves(n int) []Hash {
	leaves := make([]Hash, n)
	for i := range leaves {
		leaves[i] = LeafHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	return leaves
}

// libraryRoot is the root as transparency-dev/merkle has it.
func libraryRoot(t *testing.T, leaves []Hash) Hash {
	t.Helper()
	edge := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for i := range leaves {
		if err := edge.Append(leaves[i][:], nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(leaves) == 0 {
		return Hash(rfc6962.DefaultHasher.EmptyRoot())
	}
	root, err := edge.GetRootHash(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Hash(root)
}

func TestLeafHash(t *testing.T) {
	t.Parallel()
	hasher := NewHasher()
	for _, n := range []int{0, 1, 54, 55, 63, 64, 65, 5000} {
		data := make([]byte, n)
		if got, want := hasher.Leaf(data), Hash(rfc6962.DefaultHasher.HashLeaf(data)); got != want {
			t.Errorf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

func TestTreeIsRFC6962(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 255, 256, 257, 511, 512, 513, 767, 768, 769, 1000, 1024, 1025, 4097} {
		leaves := someLeaves(n)
		var tree Tree
		for _, leaf := range leaves {
			tree.Append(leaf)
		}
		want := libraryRoot(t, leaves)
		if got := tree.Root(); got != want {
			t.Errorf("%d leaves: Tree.Root is %x, want %x", n, got, want)
		}
		if got := Root(leaves); got != want {
			t.Errorf("%d leaves: Root is %x, want %x", n, got, want)
		}
		blocks := tree.Blocks()
		if got := Root(blocks); got != want {
			t.Errorf("%d leaves: the blocks fold to %x, want %x", n, got, want)
		}
		if got, want := len(blocks), (n+BlockSize-1)/BlockSize; got != want {
			t.Errorf("%d leaves: %d blocks, want %d", n, got, want)
		}
		for b, root := range blocks {
			if want := Root(leaves[b*BlockSize : min(n, (b+1)*BlockSize)]); root != want {
				t.Errorf("%d leaves: block %d is %x, want %x", n, b, root, want)
			}
		}
		ran++
	}
	if ran != 21 {
		t.Errorf("ran %d", ran)
	}
}

// TestPath: the path of a leaf is the path within its block and then that of the block.
func TestPath(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, n := range []int{1, 2, 3, 255, 256, 257, 600, 1025} {
		leaves := someLeaves(n)
		var tree Tree
		for _, leaf := range leaves {
			tree.Append(leaf)
		}
		root, blocks := tree.Root(), tree.Blocks()
		for i := range leaves {
			start := i / BlockSize * BlockSize
			path := append(Path(leaves[start:min(n, start+BlockSize)], i-start), Path(blocks, i/BlockSize)...)
			if diff := cmp.Diff(Path(leaves, i), path, cmp.Transformer("empty", func(p []Hash) []Hash { return append([]Hash{}, p...) })); diff != "" {
				t.Fatalf("leaf %d of %d: two ways to its path:\n%s", i, n, diff)
			}
			if err := CheckPath(leaves[i], uint64(i), uint64(n), path, root); err != nil {
				t.Fatal(err)
			}
			if err := CheckPath(leaves[i], uint64(i+1), uint64(n), path, root); err == nil {
				t.Fatalf("leaf %d of %d is also at %d", i, n, i+1)
			}
			ran++
		}
	}
	if ran != 2399 {
		t.Errorf("checked %d paths", ran)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	leaf := LeafHash([]byte("event"))
	one := Chain(Hash{}, leaf)
	if two := Chain(one, leaf); two == one || one == (Hash{}) {
		t.Errorf("the chain does not move: %x, %x", one, two)
	}
}

// BenchmarkVerifyHashing is what verification hashes for each event: leaf, tree, chain.
func BenchmarkVerifyHashing(b *testing.B) {
	for _, size := range []int{400, 700, 1200} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var tree Tree
			var chain Hash
			hasher := NewHasher()
			for b.Loop() {
				leaf := hasher.Leaf(data)
				tree.Append(leaf)
				chain = Chain(chain, leaf)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run(fmt.Sprintf("%d/parallel", size), func(b *testing.B) {
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.RunParallel(func(pb *testing.PB) {
				var tree Tree
				var chain Hash
				hasher := NewHasher()
				for pb.Next() {
					leaf := hasher.Leaf(data)
					tree.Append(leaf)
					chain = Chain(chain, leaf)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
