// The selector of eight beside itself as synthesis sees it (jb_mux8_cells: the same file, with the slice's MUXF7).
`default_nettype none

module fv_mux8 (
  input wire logic [63:0] values_i,
  input wire logic [2:0]  select_i
);
  logic [7:0] value, value_cells;

  jb_mux8 u_text (.values_i, .select_i, .value_o(value));
  jb_mux8_cells u_cells (.values_i, .select_i, .value_o(value_cells));

  always_comb begin
    assert (value == values_i[8*select_i+:8]);
    assert (value_cells == value);
  end
endmodule

`default_nettype wire
