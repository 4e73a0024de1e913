package app
import ("net/netip";"sync";gwv1 "sigs.k8s.io/gateway-api/apis/v1";"bulwark.dev/bulwark/internal/cluster";"bulwark.dev/bulwark/internal/gateway/compile")
var poolMu sync.Mutex
var pool=map[string]netip.Addr{}
var next=netip.MustParseAddr("10.242.0.1")
func pooled(opt compile.Options, snap *cluster.Snapshot) compile.Options {
	pfx:=netip.MustParsePrefix("10.242.0.0/16")
	opt.Place=func(g *gwv1.Gateway) compile.Placement {
		poolMu.Lock(); defer poolMu.Unlock()
		p:=compile.Placement{Ports:map[int32]uint16{}}
		for _,l:=range g.Spec.Listeners {p.Ports[int32(l.Port)]=uint16(l.Port)}
		for _,s:=range snap.ListenerSets { for _,l:=range s.Spec.Listeners {p.Ports[int32(l.Port)]=uint16(l.Port)} }
		ip,ok:=pool[string(g.UID)]
		if !ok { ip=next; next=next.Next(); pool[string(g.UID)]=ip }
		for _,a:=range g.Spec.Addresses { if r,err:=netip.ParseAddr(a.Value);err==nil { if pfx.Contains(r) {ip=r} else {p.Unusable=a.Value+" not in pool"} } }
		p.Bind=ip.String(); t:=gwv1.IPAddressType
		p.Addresses=[]gwv1.GatewayStatusAddress{{Type:&t,Value:p.Bind}}
		return p
	}
	return opt
}
