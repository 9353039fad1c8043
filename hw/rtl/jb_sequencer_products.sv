// Products of a weight-gradient tile: elements that were predicted, and that were not, times the pixels of dz. Pixels are
// multiplied beside the passes, bit by bit, the elements when they are known.
`default_nettype none

module jb_sequencer_products (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        start_i,      // pulse; the next three are stable from then on
  input  wire logic [15:0] images_i,
  input  wire logic [15:0] rows_i,
  input  wire logic [15:0] columns_i,    // images * rows * columns < 2^16
  input  wire logic        finish_i,     // pulse; the next two are stable from then on
  input  wire logic [31:0] decided_i,
  input  wire logic [31:0] undecided_i,
  output      logic        ready_o,      // both products are there
  output      logic [63:0] macs_o,       // undecided * pixels
  output      logic [63:0] gated_o       // decided * pixels
);
  typedef enum logic [1:0] {
    StRows,
    StColumns,
    StWait,
    StElements
  } state_e;

  state_e state_q;
  logic [15:0] a_q, b_q, sum_q;
  logic [47:0] decided_q, undecided_q;
  logic finish_q;

  assign ready_o = state_q == StElements && b_q == '0 && !finish_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q  <= StElements;
      b_q      <= '0;
      finish_q <= 1'b0;
    end else begin
      if (finish_i) finish_q <= 1'b1;
      if (start_i) begin
        state_q <= StRows;
        a_q     <= images_i;
        b_q     <= rows_i;
        sum_q   <= '0;
      end else if (b_q != '0) begin
        b_q <= b_q >> 1;
        a_q <= a_q << 1;
        if (b_q[0]) sum_q <= sum_q + a_q;
      end else begin
        unique case (state_q)
          StRows: begin
            state_q <= StColumns;
            a_q     <= sum_q;
            b_q     <= columns_i;
            sum_q   <= '0;
          end
          StColumns: state_q <= StWait;
          StWait: begin
            if (finish_q) begin
              state_q  <= StElements;
              b_q      <= sum_q;
              finish_q <= 1'b0;
            end
          end
          default: ;
        endcase
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q != StElements) begin
      decided_q   <= {16'd0, decided_i};
      undecided_q <= {16'd0, undecided_i};
      macs_o      <= '0;
      gated_o     <= '0;
    end else if (b_q != '0) begin
      decided_q   <= decided_q << 1;
      undecided_q <= undecided_q << 1;
      if (b_q[0]) begin
        macs_o  <= macs_o + {16'd0, undecided_q};
        gated_o <= gated_o + {16'd0, decided_q};
      end
    end
  end
endmodule

`default_nettype wire
