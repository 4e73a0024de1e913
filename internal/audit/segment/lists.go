package segment

import "fmt"

// Lists gives all values of a field that may have several, one of the lists of users,
// groups and addresses, in each of the rows. The lists are shared: nobody changes them.
func (r *Reader) Lists(field string, rows []int32) ([][]string, error) {
	s, err := resolve(field)
	if err != nil {
		return nil, err
	}
	if s.origin != fromColumn && s.origin != fromActor {
		return nil, fmt.Errorf("the field %q has one value: ask for Values", field)
	}
	lists := make([][]string, len(rows))
	var g *rowGroup
	var user, as [][]string
	for n, i := range rows {
		if i < 0 || int(i) >= r.Len() {
			return nil, fmt.Errorf("read row %d of a segment of %d", i, r.Len())
		}
		if next := r.groupOf(int(i)); next != g {
			g = next
			if user, err = r.listed(g, &s, s.column); err == nil && s.origin == fromActor {
				if as, err = r.listed(g, &s, s.as); err == nil {
					err = r.load(g, colAsUsername)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("read %s in the segment from event %d: %w", field, r.first, err)
			}
		}
		at := int(i) - g.first
		if s.origin == fromActor && g.columns[colAsUsername].code(at) != 0 {
			lists[n] = as[g.columns[s.as].code(at)]
		} else {
			lists[n] = user[g.columns[s.column].code(at)]
		}
	}
	return lists, nil
}

// listed gives the values of null, at 0, and of each text of a column's dictionary.
func (r *Reader) listed(g *rowGroup, s *source, id columnID) ([][]string, error) {
	if err := r.load(g, id); err != nil {
		return nil, err
	}
	dict := g.columns[id].dict
	lists := make([][]string, 1+len(dict))
	for i, text := range dict {
		values, err := s.values(text)
		if err != nil {
			return nil, err
		}
		lists[1+i] = values
	}
	return lists, nil
}
